"""The vault's cryptography: AES-256-GCM sealing, keys under keys, keyed tags, and where a key comes from.

Raises Refused `deid.vault-tampered`, `deid.key-permissions`, `deid.key-malformed`.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhir_bridge.errors import Refused

KEY_BYTES = 32
_NONCE_BYTES = 12


def seal(key: bytes, plain: bytes, associated: bytes) -> bytes:
    """nonce ‖ ciphertext ‖ tag (NIST SP 800-38D); `associated` is authenticated, not kept."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """The plain bytes, or Refused `deid.vault-tampered` where a byte of either is not as it was."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise tampered("a sealed value") from None


def subkey(master_key: bytes, use: str) -> bytes:
    """A key for one use (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"fhir-bridge vault {use}".encode()).derive(master_key)


def joined(*parts: str) -> bytes:
    """Parts as one unambiguous byte string: each with its length before it."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def tag_of(key: bytes, *parts: str) -> bytes:
    """HMAC-SHA256 over parts."""
    return hmac.digest(key, joined(*parts), "sha256")


def tampered(where: str) -> Refused:
    """The refusal of a vault that someone else wrote to."""
    return Refused("deid.vault-tampered", where, "the vault's content does not agree with its keys")


def load_or_create_key(path: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """A 32-byte key, kept as 64 hexadecimal digits: from the environment, else from the file, else made now (mode 0600).

    The variable is named after the file: `master.key` is `FHIR_BRIDGE_MASTER_KEY`. Keep the file off the backups of the vault.
    Raises Refused `deid.key-permissions`, `deid.key-malformed`.
    """
    variable = f"FHIR_BRIDGE_{path.name.upper().replace('.', '_').replace('-', '_')}"
    if variable in environment:
        return _parsed(environment[variable], variable)
    if not path.exists():
        _create(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Refused("deid.key-permissions", path.name, "the key file may be readable by its owner only (chmod 600)")
    return _parsed(path.read_text(encoding="ascii", errors="replace"), path.name)


def _create(path: Path) -> None:
    """Of several processes that start at once, the first one's key stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)


def _parsed(text: str, where: str) -> bytes:
    digits = text.strip()
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or len(digits) != 2 * KEY_BYTES:
        raise Refused("deid.key-malformed", where, "a key is 64 hexadecimal digits")
    return key
