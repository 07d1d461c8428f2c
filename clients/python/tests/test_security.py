"""What a layer shows a broker, and how it checks who answers: TLS and tokens, against brokers that follow a script."""

import asyncio
import logging
import shutil
import socket
import ssl
import time

import pytest
from certificates import Authority
from proxies import Scripted, next_frame, welcome

from fanfare_channels import BrokerUnavailable, FanfareChannelLayer
from fanfare_channels import protocol as p


def serve(connection, hello):
    """Takes every send; the welcome and what follows it come in one piece, as they may."""
    connection.sendall(welcome() + p.frame((p.CLOCK, 1)) + p.frame((p.PING, 1)))
    try:
        while True:
            fields = next_frame(connection)
            if fields[0] == p.SEND:
                connection.sendall(p.frame((p.ACK, fields[1])))
            elif fields[0] == p.PONG:
                hello["is_answered"] = True
    except ConnectionError:
        pass


def answer_in_the_clear(connection):
    connection.sendall(p.frame((p.ERROR, None, 2, "a frame begins otherwise", False)))
    raise OSError("no hello")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TOKEN", "TOKEN_FILE", "CA_FILE", "CERTIFICATE_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"FANFARE_{name}", raising=False)


@pytest.fixture
def authority(folder):
    return Authority(folder)


@pytest.fixture
def scripted(folder):
    made = []

    def start(run=serve, certificate=None, client_ca=None, wrap=None):
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if client_ca is not None:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED

            def wrap(connection):
                return context.wrap_socket(connection, server_side=True)

        listener = socket.create_server(("127.0.0.1", 0))
        made.append(Scripted(listener, run, wrap))
        made[-1].port = listener.getsockname()[1]
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def layers():
    made = []

    def make(url, **options):
        made.append(FanfareChannelLayer(url=url, **options))
        return made[-1]

    yield make
    for layer in made:
        layer.close_sync()


def problem(layer):
    with pytest.raises(BrokerUnavailable) as caught:
        layer.check_connection()
    return str(caught.value)


async def test_messages_go_over_tls_by_name_and_by_address(scripted, authority, layers):
    broker = scripted(certificate=authority.issue("broker", ["localhost", "127.0.0.1"]))
    for host in ("localhost", "127.0.0.1"):
        layer = layers(f"tls://{host}:{broker.port}", ca_file=authority.file)
        await layer.send("a", {"bytes": b"x" * 300_000})
        await asyncio.gather(*(layer.send("a", {"bytes": b"x" * 10_000}) for _ in range(200)))
        await asyncio.get_running_loop().run_in_executor(None, lambda: layer.send_sync("a", {}))
    deadline = time.monotonic() + 30
    while not all("is_answered" in hello for hello in broker.hellos):
        assert time.monotonic() < deadline, "what came with the welcome was not read"
        await asyncio.sleep(0.01)


def test_what_is_wrong_with_a_certificate_is_said(scripted, authority, folder, layers):
    other = Authority(folder, "other")
    good = scripted(certificate=authority.issue("broker", ["localhost"]))
    expired = scripted(certificate=authority.issue("expired", ["localhost"], days=-1))
    elsewhere = scripted(certificate=authority.issue("elsewhere", ["elsewhere.test", "192.0.2.1"]))
    plain = scripted(wrap=answer_in_the_clear)
    for broker, ca_file, expected in (
        (good, other.file, "no known CA has signed"),
        (good, None, "no known CA has signed"),
        (expired, authority.file, "has expired"),
        (elsewhere, authority.file, "not for the name that was dialled"),
        (plain, authority.file, "speaks no TLS"),
    ):
        assert expected in problem(layers(f"tls://localhost:{broker.port}", ca_file=ca_file))
        assert broker.hellos == []
    assert "not for the address" in problem(layers(f"tls://127.0.0.1:{elsewhere.port}", ca_file=authority.file))
    named = layers(f"tls://127.0.0.1:{elsewhere.port}", ca_file=authority.file, server_name="elsewhere.test")
    assert named.check_connection()["broker"] == "script/1"


def test_a_client_certificate_is_shown_where_a_broker_asks(scripted, authority, folder, layers):
    certificate = authority.issue("broker", ["localhost"])
    broker = scripted(certificate=certificate, client_ca=authority.file)
    stranger = scripted(certificate=certificate, client_ca=Authority(folder, "other").file)
    shown, key = authority.issue("client")
    options = {"ca_file": authority.file, "certificate_file": shown, "key_file": key}
    assert layers(f"tls://localhost:{broker.port}", **options).check_connection()
    assert "asks for a client certificate" in problem(layers(f"tls://localhost:{broker.port}", ca_file=authority.file))
    assert "does not know the CA" in problem(layers(f"tls://localhost:{stranger.port}", **options))


def test_files_are_read_again_at_each_dial(scripted, authority, folder, layers):
    broker = scripted(certificate=authority.issue("broker", ["localhost"]))
    file = folder / "rotated.pem"
    shutil.copy(Authority(folder, "other").file, file)
    layer = layers(f"tls://localhost:{broker.port}", ca_file=file)
    assert "no known CA" in problem(layer)
    shutil.copy(authority.file, file)
    deadline = time.monotonic() + 30
    while not layer.statistics()["connected"]:
        assert time.monotonic() < deadline, "the file was not read again"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"ca_file": "/nowhere/ca.pem"}, "CA certificates in /nowhere/ca.pem: No such file"),
        ({"certificate_file": "/nowhere/c.pem", "key_file": "/nowhere/c.key"}, "/nowhere/c.pem and /nowhere/c.key"),
        ({"token_file": "/nowhere/token"}, "/nowhere/token"),
        ({"token_file": "/dev/zero"}, "no regular file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(layers, options, expected):
    assert expected in problem(layers("tls://localhost:1", **options))


def test_a_token_comes_from_its_option_its_file_or_the_environment(scripted, folder, layers, monkeypatch):
    broker = scripted()
    url = f"tcp://localhost:{broker.port}"
    file = folder / "token"
    file.write_text("from-file\n")
    file.chmod(0o640)
    layers(url).check_connection()
    layers(url, token="from-option").check_connection()
    layers(url, token_file=file).check_connection()
    monkeypatch.setenv("FANFARE_TOKEN", "from-environment")
    layers(url).check_connection()
    monkeypatch.setenv("FANFARE_TOKEN_FILE", str(file))
    layers(url).check_connection()
    shown = [hello.get("token") for hello in broker.hellos]
    assert shown == [None, "from-option", "from-file", "from-environment", "from-file"]
    for mode in (0o644, 0o604, 0o602):
        file.chmod(mode)
        assert "everybody on this machine may open it" in problem(layers(url, token_file=file))
    assert len(broker.hellos) == 5


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "x" * 1_025, "t\u00e9"])
def test_a_token_file_without_a_token_is_refused_and_not_shown(folder, layers, content):
    file = folder / "token"
    file.write_text(content)
    file.chmod(0o600)
    text = problem(layers("unix:/nowhere.sock", token_file=file))
    assert "1 to 1024 visible ASCII characters" in text
    assert len(content) < 3 or content not in text


def test_a_token_goes_over_plain_tcp_to_this_machine_only(layers):
    text = problem(layers("tcp://192.0.2.1:9", token="s3cret"))
    assert "tls://192.0.2.1:9" in text and "s3cret" not in text


@pytest.mark.parametrize(
    "options",
    [
        {"token": "a", "token_file": "/x"}, {"token": ""}, {"token": "a b"}, {"token": 5}, {"certificate_file": "/x"},
        {"key_file": "/x"}, {"ca_file": 5}, {"server_name": ""}, {"send_patience": -1},
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(options):
    with pytest.raises(ValueError):
        FanfareChannelLayer(url="unix:/x", **options)


def test_who_is_refused_hears_why_asks_seldom_and_logs_it_once(scripted, layers, caplog):
    def refuse(connection, hello):
        connection.sendall(p.frame((p.ERROR, None, 7, "the token is not known", False)))

    broker = scripted(refuse)
    layer = layers(f"tcp://localhost:{broker.port}", token="wrong")
    with caplog.at_level(logging.WARNING, "fanfare_channels"):
        assert "the token is not known" in problem(layer)
        deadline = time.monotonic() + 30
        while len(broker.hellos) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(BrokerUnavailable, match="the token is not known"):
            layer.send_sync("a", {})
    assert [record.message.count("the token is not known") for record in caplog.records] == [1]
    assert layer.hub().keeper._backoff._step == layer.configuration.backoff_seconds
