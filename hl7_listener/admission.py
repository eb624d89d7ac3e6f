"""Who may connect to a listener: the allow-list of addresses and the limits on the number of connections."""

import ipaddress

from hl7_listener.policy import ListenerPolicy


class Admission:
    """The rules of one policy."""

    def __init__(self, policy: ListenerPolicy) -> None:
        self._policy = policy
        self._allowed = [ipaddress.ip_network(peer, strict=False) for peer in policy.allowed_peers]

    def refusal(self, host: str, connections: int, of_this_peer: int) -> str:
        """Why a new connection is closed at once; an empty string where it may stay."""
        if self._allowed and not self._is_allowed(host):
            return "not-allowed"
        if connections >= self._policy.max_connections:
            return "too-many-connections"
        if of_this_peer >= self._policy.max_connections_per_peer:
            return "too-many-of-peer"
        return ""

    def _is_allowed(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped  # how an IPv4 peer appears at a socket that takes both
        return any(address in network for network in self._allowed)
