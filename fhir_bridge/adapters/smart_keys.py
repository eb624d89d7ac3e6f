"""Our keys of SMART Backend Services (SMART App Launch 2.2, client-confidential-asymmetric): private in a folder, public as a JWK Set.

Several may be there, for a rotation: all are published, the oldest signs, and once the server knows the new one the old one is retired.
"""

import base64
import hashlib
import json
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from fhir_bridge.errors import Refused

ALGORITHMS = ("RS384", "ES384")  # both are what servers must support
_RSA_BITS = 3072  # NIST SP 800-57: as strong as the SHA-384 and P-384 beside it asks for, good beyond 2030
_LEAST_RSA_BITS = 2048
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class SmartKey:
    """One key pair. `kid` is the thumbprint of its public half (RFC 7638); `public` that half as a JWK (RFC 7517)."""

    kid: str
    algorithm: str
    file: Path
    private: PrivateKey = field(repr=False)
    public: dict[str, Any] = field(repr=False)


class SmartKeys:
    """The folder, `*.pem`, in the order of the files' names, which begin with the time they were made at. Read again when it changes.

    Raises Refused `fhir.key-missing`, `fhir.key-unusable`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._keys: tuple[SmartKey, ...] = ()

    def all(self) -> tuple[SmartKey, ...]:
        """Oldest first."""
        with self._lock:
            files = sorted(self._folder.glob("*.pem"))
            seen = tuple(filter(None, map(_state, files)))
            if seen != self._seen:
                self._keys = tuple(_key(path) for path in files if path.exists())
                self._seen = seen
            return self._keys

    def signing(self, kid: str = "") -> SmartKey:
        """The key of this id; without one the oldest."""
        for key in self.all():
            if kid in ("", key.kid):
                return key
        where, words = ("fhir.smart.key_id", "no key has this id") if kid else ("secrets/smart", "there is no key")
        raise Refused("fhir.key-missing", where, f"{words}: see fhir-bridge keys")

    def public(self) -> dict[str, Any]:
        """The JWK Set of all (RFC 7517 §5). Nothing of it is secret."""
        return {"keys": [key.public for key in self.all()]}

    def make(self, algorithm: str, now: datetime) -> SmartKey:
        """A new key, of ALGORITHMS, in a file of its owner's only, whole or not at all."""
        private: PrivateKey = (
            ec.generate_private_key(ec.SECP384R1())
            if algorithm == "ES384"
            else rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        )
        kid = _public(private)["kid"]
        file = self._folder / f"{now:%Y%m%dT%H%M%SZ}-{kid[:8]}.pem"
        _write(file, private)
        return _key(file)

    def retire(self, kid: str) -> None:
        """Destroy this key. The last one stays: raises Refused `fhir.key-missing` for it, and for one that is not there."""
        if not kid:
            raise Refused("fhir.key-missing", "KID", "no key has no id")
        key = self.signing(kid)
        if len(self.all()) == 1:
            raise Refused("fhir.key-missing", kid, "it is the only key: make another one first")
        key.file.unlink()


def _state(file: Path) -> tuple[str, int, int] | None:
    """What changes with the file; None for one that was retired since the folder was read."""
    try:
        state = file.stat()
    except FileNotFoundError:
        return None
    return file.name, state.st_mtime_ns, state.st_size


def _key(file: Path) -> SmartKey:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise Refused("fhir.key-unusable", file.name, "it may be readable by its owner only (chmod 600)")
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, TypeError, ValueError) as error:  # TypeError: it is encrypted
        raise Refused("fhir.key-unusable", file.name, f"no private key in PEM: {type(error).__name__}") from None
    usable = (isinstance(private, rsa.RSAPrivateKey) and private.key_size >= _LEAST_RSA_BITS) or (
        isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP384R1)
    )
    if not usable or not isinstance(private, PrivateKey):
        raise Refused("fhir.key-unusable", file.name, "neither RSA of 2048 bits or more (RS384) nor P-384 (ES384)")
    public = _public(private)
    return SmartKey(public["kid"], public["alg"], file, private, public)


def _public(private: PrivateKey) -> dict[str, Any]:
    if isinstance(private, rsa.RSAPrivateKey):
        jwk, algorithm = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "RS384"
    else:
        jwk, algorithm = ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "ES384"
    jwk = {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}
    return {**jwk, "alg": algorithm, "use": "sig", "kid": thumbprint(jwk)}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638 §3 of a JWK that has the members of its key and no other, by SHA-256, as base64url."""
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode("ascii")


def _write(file: Path, private: PrivateKey) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            opened.flush()
            os.fsync(opened.fileno())
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
