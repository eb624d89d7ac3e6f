"""Our keys of SMART Backend Services: on disk, as JWKs, and in what order they sign."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fhir_bridge.adapters.smart_keys import SmartKeys, thumbprint
from fhir_bridge.errors import Refused
from tests.support.frozen_clock import START

PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "smart"


@pytest.fixture
def keys(folder: Path) -> SmartKeys:
    return SmartKeys(folder)


def test_the_thumbprint_is_that_of_the_standard() -> None:
    """The example of RFC 7638 §3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
        "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr"
        "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    assert thumbprint({"kty": "RSA", "n": n, "e": "AQAB"}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("algorithm", "members"),
    [
        ("RS384", {"kty", "n", "e", "alg", "use", "kid"}),
        ("ES384", {"kty", "crv", "x", "y", "alg", "use", "kid"}),
    ],
)
def test_what_is_published_is_the_public_half_and_no_more(keys: SmartKeys, algorithm: str, members: set[str]) -> None:
    keys.make(algorithm, START)
    (jwk,) = keys.public()["keys"]
    assert (set(jwk), jwk["alg"], jwk["use"]) == (members, algorithm, "sig")


def test_a_new_key_is_its_owners_alone_and_no_draft_is_left(keys: SmartKeys, folder: Path) -> None:
    made = keys.make("ES384", START)
    assert [path.name for path in folder.iterdir()] == [made.file.name]
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600


def test_both_are_published_and_the_oldest_signs_until_it_is_retired(keys: SmartKeys) -> None:
    old, new = (keys.make("ES384", START + timedelta(days=days)).kid for days in (0, 90))
    assert [jwk["kid"] for jwk in keys.public()["keys"]] == [old, new]
    assert keys.signing().kid == old
    keys.retire(old)
    assert (keys.signing().kid, [jwk["kid"] for jwk in keys.public()["keys"]]) == (new, [new])


def test_the_key_that_the_settings_name_signs(keys: SmartKeys) -> None:
    keys.make("ES384", START)
    new = keys.make("ES384", START + timedelta(days=1))
    assert keys.signing(new.kid).kid == new.kid


def test_a_key_made_by_another_process_is_seen(keys: SmartKeys, folder: Path) -> None:
    assert keys.all() == ()
    made = SmartKeys(folder).make("ES384", START)
    assert [key.kid for key in keys.all()] == [made.kid]


@pytest.mark.parametrize("kid", ["", "another"])
def test_a_key_that_is_not_there_is_named_missing(keys: SmartKeys, kid: str) -> None:
    with pytest.raises(Refused) as caught:
        keys.signing(kid)
    assert caught.value.code == "fhir.key-missing"


def test_the_only_key_is_not_retired(keys: SmartKeys) -> None:
    made = keys.make("ES384", START)
    with pytest.raises(Refused) as caught:
        keys.retire(made.kid)
    assert (caught.value.code, made.file.exists()) == ("fhir.key-missing", True)


def test_no_key_is_not_the_oldest_key(keys: SmartKeys) -> None:
    made = [keys.make("ES384", START + timedelta(days=day)) for day in (0, 1)]
    with pytest.raises(Refused) as caught:
        keys.retire("")
    assert (caught.value.code, [key.file.exists() for key in made]) == ("fhir.key-missing", [True, True])


def test_a_key_that_goes_while_the_folder_is_read_is_gone(keys: SmartKeys, folder: Path) -> None:
    made = keys.make("ES384", START)
    (folder / "0.pem").symlink_to(folder / "retired-a-moment-ago.pem")
    assert [key.kid for key in keys.all()] == [made.kid]


def test_a_key_that_others_may_read_is_not_used(keys: SmartKeys, folder: Path) -> None:
    keys.make("ES384", START).file.chmod(0o640)
    with pytest.raises(Refused) as caught:
        SmartKeys(folder).all()
    assert caught.value.code == "fhir.key-unusable"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(*PEM, lock)


@pytest.mark.parametrize(
    "content",
    [
        b"CANARY",
        pem(rsa.generate_private_key(65537, 1024)),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(ec.generate_private_key(ec.SECP384R1()), b"passphrase"),
    ],
    ids=["text", "short", "other curve", "encrypted"],
)
def test_a_file_that_is_no_usable_key_is_refused_by_its_name(keys: SmartKeys, folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "0.pem").touch(0o600)
    (folder / "0.pem").write_bytes(content)
    with pytest.raises(Refused) as caught:
        keys.all()
    assert (caught.value.code, caught.value.where) == ("fhir.key-unusable", "0.pem")


def test_a_hospitals_own_key_in_pem_is_used(keys: SmartKeys, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "0.pem").touch(0o600)
    (folder / "0.pem").write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    assert keys.signing().algorithm == "RS384"
