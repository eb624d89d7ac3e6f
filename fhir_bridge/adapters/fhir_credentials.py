"""How we say to a FHIR server who we are: the `Authorization` header of a request (RFC 9110 §11.6.2)."""

import base64
from dataclasses import dataclass, field
from typing import Protocol


class Credentials(Protocol):
    """Threads share them."""

    def header(self) -> str:
        """The value of `Authorization`; empty where there is none. Raises BridgeError where it cannot be had now."""

    def renewed(self, refused: str) -> bool:
        """The server answered 401 to this header: whether another one may be had."""

    def close(self) -> None:
        """Close the idle connections that they have of their own."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same header for good."""

    value: str = field(default="", repr=False)

    def header(self) -> str:
        return self.value

    def renewed(self, refused: str) -> bool:
        return False

    def close(self) -> None:
        """There are none."""


NOBODY = Fixed()


def basic(username: str, password: str) -> Fixed:
    """RFC 7617, in UTF-8. The user name has no colon."""
    return Fixed(f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode('ascii')}")


def bearer(token: str) -> Fixed:
    """RFC 6750 §2.1."""
    return Fixed(f"Bearer {token}")
