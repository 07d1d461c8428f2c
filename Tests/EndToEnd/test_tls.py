"""TLS in front of the broker: certificates of both sides, reading them again, bounds of a handshake."""
import os
import socket
import ssl

import pytest

import wire
from programs import HOST, eventually
from security import Authority, counted, reload, secured


def test_tls_carries_everything(house, authority, port):
    certificate, key = authority.sign("broker")
    broker = house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key)
    with secured(port, authority.trusting()) as client:
        assert client.link.version() == "TLSv1.3"
        large = os.urandom(1_000_000)
        client.send("jobs", {"large": large})
        assert client.receive("jobs") == {"large": large}
    old = authority.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with secured(port, old) as client:
        assert client.link.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        secured(port, ssl.create_default_context())
    with socket.create_connection((HOST, port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        plain.settimeout(20)
        assert b"200" not in plain.recv(1024)
    eventually(lambda: counted(house, "tls_failures") >= 2, "failed handshakes are counted")
    assert broker.is_running()


def test_a_client_certificate_is_asked_for(house, authority, port):
    certificate, key = authority.sign("broker")
    house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key,
                 "--tls-client-ca", authority.certificate)
    with secured(port, authority.trusting(authority.sign("client"))) as client:
        assert client.ask(wire.PING) is None
    stranger = Authority(house.folder, "nobody").sign("forged")
    for context in (authority.trusting(), authority.trusting(stranger)):
        # With TLS 1.3 a client learns of it when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            secured(port, context)


def test_certificates_are_read_again(house, authority, port):
    certificate, key = authority.sign("broker")
    broker = house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key)

    def serial():
        with secured(port, authority.trusting()) as client:
            return client.link.getpeercert()["serialNumber"]

    first = serial()
    with secured(port, authority.trusting()) as before:
        authority.sign("broker")
        reload(house, broker, "tls_ok")
        second = serial()
        assert second != first
        certificate.write_text("no certificate")
        reload(house, broker, "tls_failed")
        assert serial() == second
        assert before.ask(wire.PING) is None
    assert "those in force stay" in broker.text()


def test_half_a_handshake_is_closed_like_half_a_hello(house, authority, port):
    certificate, key = authority.sign("broker")
    house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key)
    silent = socket.create_connection((HOST, port))
    # The start of a handshake record whose 16 KiB never come.
    half = socket.create_connection((HOST, port))
    half.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc")
    # The handshake is done, and then nothing.
    mute = authority.trusting().wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST)
    for link in (silent, half, mute):
        link.settimeout(20)
        try:
            while link.recv(4_096):
                pass
        except (ssl.SSLError, ConnectionError):
            pass
        link.close()
    eventually(lambda: counted(house, "strangers") == 0, "nobody of them is kept")


def test_one_connection_too_many_is_closed_in_front_of_its_handshake(house, authority, port):
    certificate, key = authority.sign("broker")
    broker = house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key,
                          "--limit", "strangers_per_address=2", "--limit", "hello_within_seconds=60")
    silent = [socket.create_connection((HOST, port)) for _ in range(2)]
    eventually(lambda: counted(house, "strangers") == 2, "they are counted")
    with pytest.raises((ssl.SSLError, OSError)):
        secured(port, authority.trusting())
    assert counted(house, "strangers") == 2
    assert counted(house, "refused.limit_reached") == 1
    for link in silent:
        link.close()
    eventually(lambda: counted(house, "strangers") == 0, "they have gone")
    with secured(port, authority.trusting()) as client:
        assert client.ask(wire.PING) is None
    assert broker.is_running()


def test_a_handshake_has_a_bound_in_bytes(house, authority, port):
    certificate, key = authority.sign("broker")
    house.broker("--listen", f"tls://{HOST}:{port}", "--tls-certificate", certificate, "--tls-key", key,
                 "--limit", "handshake_bytes=4096")
    context = authority.trusting()
    # A greeting of 8 KiB that is right in every other way.
    context.set_alpn_protocols([f"{number:0200}" for number in range(40)])
    before = counted(house, "tls_failures")
    with pytest.raises((ssl.SSLError, OSError)):
        secured(port, context)
    eventually(lambda: counted(house, "tls_failures") > before, "it is counted")
    with secured(port, authority.trusting()) as client:
        assert client.ask(wire.PING) is None
