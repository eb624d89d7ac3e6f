"""The bearer of each Subscription: made from one secret and the Subscription's name, so that one that leaks opens one hook only."""

import base64
import hmac
from collections.abc import Sequence


def token_for(secret: str, name: str) -> str:
    """256 bits as 43 characters of base64url (RFC 4648 §5), fit for a header: HMAC-SHA256 of the secret over `hook NAME`."""
    digest = hmac.digest(secret.encode(), f"hook {name}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def opens(given: str, name: str, secrets: Sequence[str]) -> bool:
    """Whether it is the token of this hook, or a secret itself (a Subscription made by hand), in a time that tells nothing of either."""
    candidates = [word for secret in secrets if secret for word in (secret, token_for(secret, name))]
    return sum(hmac.compare_digest(given.encode(), candidate.encode()) for candidate in candidates) > 0
