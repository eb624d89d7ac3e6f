"""A certificate for 127.0.0.1, made on the spot, as we and as Java programs want it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

_PASSWORD = "canary"


@dataclass(frozen=True)
class JavaTls:
    """`pem` holds certificate and key; `java_options` make a Java program trust it."""

    pem: Path
    java_options: str


def java_tls(folder: Path) -> JavaTls:
    """Both files are written into `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, trust = folder / "bridge.pem", folder / "trust.p12"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    trusted = [PKCS12Certificate(certificate, b"bridge")]
    trust.write_bytes(serialize_java_truststore(trusted, BestAvailableEncryption(_PASSWORD.encode())))
    java = f"-Djavax.net.ssl.trustStore={trust} -Djavax.net.ssl.trustStorePassword={_PASSWORD}"
    return JavaTls(pem, java)
