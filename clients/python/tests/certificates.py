"""Certificates for tests, made when they are needed."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA that writes certificates with their keys into a folder."""

    def __init__(self, folder, name="ca"):
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = self._sign(name, self._key.public_key(), now - DAY, now + DAY, is_authority=True)
        self.file = self._write(f"{name}.pem", certificate)

    def issue(self, name, hosts=(), days=1):
        """Files of a certificate for these hosts, which ends in that many days, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = self._sign(name, key.public_key(), now - 9 * DAY, now + days * DAY, hosts)
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(f"{name}.pem", certificate), self._write(f"{name}.key", plain)

    def _sign(self, name, key, start, end, hosts=(), is_authority=False):
        def named(text):
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder(named(self._name), named(name), key, x509.random_serial_number(), start, end)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        if hosts:
            names = [_host(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name, content):
        file = self._folder / name
        file.write_bytes(content)
        file.chmod(0o600)
        return str(file)


def _host(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
