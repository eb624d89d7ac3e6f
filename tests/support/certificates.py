"""Certificates for TLS on loopback, made on the spot: an authority, and what it signs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HOUR = timedelta(hours=1)


class Authority:
    """Signs certificates into a folder; `ca_file` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.ca_file = folder / f"{name}.pem"
        authority = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.ca_file.write_bytes(_pem(authority.sign(self._key, hashes.SHA256())))

    def sign(self, name: str, passphrase: bytes = b"", *, days_ago: int = 0) -> tuple[Path, Path]:
        """The files of a new certificate and its key. Whoever asks for `localhost` gets one for that name; `days_ago` is an expired one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, timedelta(days=days_ago))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        private.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return certificate, private

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ago: timedelta = timedelta()
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC) - ago
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        return builder.not_valid_before(now - _HOUR).not_valid_after(now + _HOUR)


def serial_number(certificate: bytes) -> int:
    """Of a certificate in DER, as a peer shows it."""
    return x509.load_der_x509_certificate(certificate).serial_number


def serial_number_of(file: Path) -> int:
    """Of the certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
