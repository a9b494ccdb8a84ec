"""The broker's TLS certificate: signed by itself, kept in a folder, `cert.pem` of which clients trust."""

import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aos.local.servicebus.errors import CertificateError

_LIFETIME = timedelta(days=365)
_LEAST_LEFT = timedelta(days=1)
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Service Bus on this machine")])


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    """TLS for a server at `host` and localhost, with the folder's `cert.pem` and `key.pem`.

    Both are made if they are not there, and again when about to expire or made for another host;
    a certificate that was not made here is used as it is.
    Raises CertificateError, naming the folder.
    """
    certificate, key = folder / "cert.pem", folder / "key.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        names = _names(host)
        folder.mkdir(parents=True, exist_ok=True)
        if not (key.exists() and certificate.exists() and _serves(certificate.read_bytes(), names)):
            _make(certificate, key, names)
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        raise CertificateError(f"{folder}: not usable for the TLS certificate: {error}") from error
    return context


def _names(host: str) -> list[x509.GeneralName]:
    return [_general_name(name) for name in dict.fromkeys(("localhost", "127.0.0.1", "::1", host))]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _serves(pem: bytes, names: list[x509.GeneralName]) -> bool:
    """Whether a certificate, if it was made here, is good for all the names, for a while."""
    certificate = x509.load_pem_x509_certificate(pem)
    if certificate.subject != _SUBJECT:
        return True
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left > _LEAST_LEFT and set(names) <= set(known)


def _make(certificate: Path, key: Path, names: list[x509.GeneralName]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key, pem)
    _write(certificate, _self_signed(private, names).public_bytes(Encoding.PEM))


def _self_signed(private: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    """A certificate that is its own authority, so that a client can be told to trust it alone."""
    public = private.public_key()
    now = datetime.now(UTC)
    unset = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(_SUBJECT)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **unset), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(private, SHA256())
    )


def _write(path: Path, content: bytes) -> None:
    """Put a file in place whole, readable by its owner only."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
