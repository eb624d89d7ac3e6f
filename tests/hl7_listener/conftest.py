"""Listeners that are stopped when their test is over, and a certificate for TLS, made on the spot."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hl7_listener.server import Acceptor, ListenerPolicy, MllpServer

POLICY = ListenerPolicy("orders", port=0, max_message_mebibytes=1)
Start = Callable[..., tuple[MllpServer, tuple[str, int]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a listener; it is stopped when the test is over."""
    with ExitStack() as stack:

        def starter(accept: Acceptor, **limits: Any) -> tuple[MllpServer, tuple[str, int]]:
            server = MllpServer(replace(POLICY, **limits), accept)
            stack.callback(server.stop)
            return server, server.start()

        yield starter


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context, and that of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(pem)
    return ours, ssl.create_default_context(cafile=str(pem))
