"""What tests of security need: credentials files, certificates, sessions that are refused."""
import grp
import hashlib
import os
import pwd
import signal
import socket
import ssl
import subprocess

import pytest

import wire
from programs import HOST, eventually

USER, GROUP = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name


def digest(token):
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def credential(name, roles, *lines, token=None):
    entry = [f"  - name: {name}", f"    roles: [{roles}]"]
    if token:
        entry.append(f'    tokens: ["{digest(token)}"]')
    return "\n".join([*entry, *(f"    {line}" for line in lines)])


PROBE = credential("probe", "admin", f"unix_users: [{USER}]")


class Credentials:
    """A credentials file of this test's own. The user of the tests is in it, so that the house can look."""

    def __init__(self, folder):
        self.path = folder / "credentials.yaml"
        self.write()

    def write(self, *entries, probe=PROBE, mode=0o600):
        self.path.write_text("\n".join(["credentials:", *filter(None, [probe]), *entries]) + "\n")
        self.path.chmod(mode)


class Authority:
    """Signs certificates."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.openssl("req", "-x509", *self.fresh(self.key), "-subj", f"/CN={name}", "-out", self.certificate)

    @staticmethod
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    @staticmethod
    def fresh(key):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key

    def sign(self, name):
        """The files of a certificate for 127.0.0.1 and its key."""
        certificate, key, request = (self.folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
        self.openssl("req", *self.fresh(key)[:-4], "-keyout", key, "-subj", f"/CN={name}",
                     "-addext", "subjectAltName=IP:127.0.0.1", "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                     "-days", "2", "-copy_extensions", "copy", "-out", certificate)
        key.chmod(0o600)
        return certificate, key

    def trusting(self, client=None):
        context = ssl.create_default_context(cafile=self.certificate)
        if client:
            context.load_cert_chain(*client)
        return context


def secured(port, context, **hello):
    """A session over TLS."""
    return wire.Wire(context.wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST), **hello)


def refusal(open_session):
    """Why a session cannot be opened, or a request is refused."""
    with pytest.raises(wire.Refused) as refused:
        open_session()
    return refused.value


def counted(house, name):
    value = house.json("status")
    for key in name.split("."):
        value = value.get(key, 0)
    return value


def reload(house, broker, counter):
    before = counted(house, f"reloads.{counter}")
    broker.process.send_signal(signal.SIGHUP)
    eventually(lambda: counted(house, f"reloads.{counter}") > before, f"{counter} is counted")
