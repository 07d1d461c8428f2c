"""Other ways to listen than HOST:PORT: TLS, a Unix socket, a socket that was handed over."""
import asyncio
import json
import signal
import socket
import ssl
import subprocess
import urllib.request

import pytest
from websockets.asyncio.client import connect, unix_connect

from programs import HOST, START_SECONDS, eventually

LARGE = "x" * 900_000


@pytest.fixture
def certificate(house):
    """A certificate for 127.0.0.1 that signs itself."""
    files = house.folder / "certificate.pem", house.folder / "key.pem"
    sign(files)
    return files


def sign(files):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=fanfare test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )


async def echo(connection):
    async with connection as client:
        for message in ("text", b"bytes", "", LARGE):
            await client.send(message)
            assert await client.recv() == message


def test_tls(house, broker, port, certificate):
    files = ("--tls-certificate", certificate[0], "--tls-key", certificate[1])
    worker = house.worker("worker", port, True, "--echo", *files)
    assert f"https://{HOST}:{port}" in worker.text()
    trusting = ssl.create_default_context(cafile=certificate[0])
    asyncio.run(echo(connect(f"wss://{HOST}:{port}/ws/echo/", ssl=trusting, max_size=None)))
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(echo(connect(f"wss://{HOST}:{port}/ws/echo/", ssl=ssl.create_default_context())))
    # Whoever speaks plain HTTP to it gets no answer, and troubles nobody.
    with socket.create_connection((HOST, port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200" not in plain.recv(1024)
    asyncio.run(echo(connect(f"wss://{HOST}:{port}/ws/echo/", ssl=trusting, max_size=None)))


def test_a_flood_over_tls_takes_its_turns(house, broker, port, certificate):
    files = ("--tls-certificate", certificate[0], "--tls-key", certificate[1])
    house.worker("worker", port, True, "--echo", "--limit", "sockets.frames_per_turn=2", *files)
    sent = [str(number) for number in range(5_000)]

    async def run():
        async def flood(client):
            for text in sent:
                await client.send(text)

        trusting = ssl.create_default_context(cafile=certificate[0])
        async with connect(f"wss://{HOST}:{port}/ws/echo/", ssl=trusting) as client:
            flooding = asyncio.create_task(flood(client))
            assert [await client.recv() for _ in sent] == sent
            await flooding
        # Who sends and is gone at once is heard to the end as well.
        reader, writer = await asyncio.open_connection(HOST, port, ssl=trusting)
        writer.write(b"GET /ws/echo/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x82\0\0\0\0hi" * 1_000 + b"\x88\x80\0\0\0\0")
        assert await reader.read() == b"\x81\x02hi" * 1_000 + b"\x88\x00"
        writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("check", [(), ("--check-config",)])
def test_tls_that_cannot_be_used_ends_the_start(house, broker, port, certificate, check):
    (house.folder / "no.pem").write_text("no certificate")
    listen = ("--listen", f"{HOST}:{port}", *check)
    failed = house.run("fanfare-worker", *listen, "--tls-certificate", house.folder / "no.pem", "--tls-key",
                       certificate[1], code=78)
    assert "no.pem" in failed.stderr and "certificate" in failed.stderr
    assert "tls_key_file" in house.run("fanfare-worker", *listen, "--tls-certificate", certificate[0], code=78).stderr


def test_what_a_worker_would_show_its_broker_is_checked(house, certificate):
    token = house.folder / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    check = ("--listen", f"{HOST}:0", "--check-config", "--broker")
    tls = (*check, "tls://localhost:7411", "--broker-token-file", token, "--broker-ca-file", certificate[0])
    house.run("fanfare-worker", *tls)
    house.run("fanfare-worker", *tls, "--broker-certificate-file", certificate[0], "--broker-key-file", certificate[1])
    far = house.run("fanfare-worker", *check, "tcp://192.0.2.1:7411", "--broker-token-file", token, code=78).stderr
    assert "tls://192.0.2.1:7411" in far and "secret" not in far
    token.chmod(0o644)
    assert f"{token}: everybody" in house.run("fanfare-worker", *tls, code=78).stderr
    token.chmod(0o600)
    certificate[0].unlink()
    assert str(certificate[0]) in house.run("fanfare-worker", *tls, code=78).stderr


def test_a_worker_reads_its_certificate_again(house, broker, port, certificate):
    files = ("--tls-certificate", certificate[0], "--tls-key", certificate[1])
    worker = house.worker("worker", port, True, "--echo", *files)
    address = f"wss://{HOST}:{port}/ws/echo/"

    def reload(result):
        before = counted(worker)[result]
        worker.process.send_signal(signal.SIGHUP)
        eventually(lambda: counted(worker)[result] == before + 1, f"{result} is counted")

    def trusting():
        return ssl.create_default_context(cafile=certificate[0])

    async def run():
        old = trusting()
        async with connect(address, ssl=old, max_size=None) as client:
            sign(certificate)
            await asyncio.to_thread(reload, "tls_ok")
            new = trusting()
            await echo(connect(address, ssl=new, max_size=None))
            with pytest.raises(ssl.SSLCertVerificationError):
                await echo(connect(address, ssl=old))
            # A key that is not the certificate's, and then no certificate at all.
            good = certificate[1].read_text()
            sign((house.folder / "other.pem", certificate[1]))
            await asyncio.to_thread(reload, "tls_failed")
            certificate[1].write_text(good)
            certificate[0].write_text("no certificate")
            await asyncio.to_thread(reload, "tls_failed")
            await echo(connect(address, ssl=new, max_size=None))
            await client.send("still here")
            assert await client.recv() == "still here"

    asyncio.run(run())
    assert "the one in force stays" in worker.text() and str(certificate[0]) in worker.text()
    assert worker.terminate() == 0


def test_a_worker_with_nothing_to_read_again_goes_on(house, broker, port):
    worker = house.worker("worker", port, True, "--echo")

    async def run():
        async with connect(f"ws://{HOST}:{port}/ws/echo/") as client:
            worker.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, lambda: "nothing to read again" in worker.text(), "it says so")
            await client.send("still here")
            assert await client.recv() == "still here"

    asyncio.run(run())
    assert not any(counted(worker).values())
    assert worker.terminate() == 0


def counted(worker):
    """What came of reading files again."""
    with urllib.request.urlopen(f"http://{HOST}:{worker.ops_port}/healthz", timeout=20) as answer:
        return json.load(answer)["reloads"]


def test_a_unix_socket(house, broker):
    path = house.folder / "web.sock"
    worker = house.start("worker", "fanfare-worker", "--listen", f"unix:{path}", "--echo")
    eventually(lambda: "ready on" in worker.text(), "the worker is ready", START_SECONDS)
    asyncio.run(echo(unix_connect(str(path), "ws://shop.example/ws/echo/", max_size=None)))
    assert worker.terminate() == 0
    assert not path.exists()


def test_a_socket_that_was_handed_over(house, broker):
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        number = listener.fileno()
        with open(house.folder / "worker.log", "wb") as log:
            worker = subprocess.Popen(
                [house.binaries / "fanfare-worker", "--listen", f"fd:{number}", "--echo"],
                pass_fds=[number], env=house.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        try:
            log = house.folder / "worker.log"
            eventually(lambda: "ready on" in log.read_text(), "the worker is ready", START_SECONDS)
            address = f"ws://{HOST}:{listener.getsockname()[1]}/ws/echo/"
            asyncio.run(echo(connect(address, max_size=None)))
        finally:
            worker.terminate()
            assert worker.wait(START_SECONDS) == 0
    failed = house.run("fanfare-worker", "--listen", "fd:977", code=78)
    assert "fd:977" in failed.stderr
