"""Workers, the CLI and Django's layer at a broker that asks who they are: TLS, tokens, and their replacement."""
import asyncio
import json
import subprocess
import sys

import pytest

from chat import Visitor
from programs import HOST, eventually, free_port
from security import Authority, Credentials, credential, reload

DJANGO = """
import sys
from fanfare_channels import FanfareChannelLayer
layer = FanfareChannelLayer(url=sys.argv[1], ca_file=sys.argv[2], token_file=sys.argv[3])
layer.group_send_sync("chat_lobby", {"type": "chat.message", "message": "from Django"})
layer.close_sync()
"""


class Place:
    """A broker with TLS and tokens, and the files its clients need."""

    def __init__(self, house, port, *arguments):
        self.house = house
        self.authority = Authority(house.folder, "authority")
        self.credentials = Credentials(house.folder)
        self.tokens = {name: self.token(name, f"the-token-of-{name}") for name in ("worker", "eye", "site")}
        self.admit()
        certificate, key = self.authority.sign("broker")
        self.url = f"tls://{HOST}:{port}"
        self.broker = house.broker(
            "--listen", self.url, "--tls-certificate", certificate, "--tls-key", key,
            "--credentials", self.credentials.path, *arguments
        )

    def token(self, name, token, mode=0o600):
        file = self.house.folder / f"{name}.token"
        file.write_text(token + "\n")
        file.chmod(mode)
        return file

    def admit(self, worker="the-token-of-worker"):
        self.credentials.write(
            credential("worker", "worker", token=worker),
            credential("eye", "inspect", token="the-token-of-eye"),
            credential("site", "worker", "groups: {send: [chat_*], join: []}", token="the-token-of-site"),
        )

    def worker(self, port, *arguments):
        """A worker that knows the broker by its TLS address only."""
        unix, self.house.endpoint = self.house.endpoint, self.url
        try:
            return self.house.worker(
                "worker-1", port, True, "--broker-ca-file", str(self.authority.certificate),
                "--broker-token-file", str(self.tokens["worker"]), *arguments
            )
        finally:
            self.house.endpoint = unix

    def look(self, *arguments, code=0, ca=None, token="eye", role=("--role", "inspect")):
        return self.house.cli(
            "--broker", self.url, "--ca-file", ca or self.authority.certificate, "--token-file", self.tokens[token],
            *role, *arguments, code=code
        )


@pytest.fixture
def place(house):
    return Place(house, free_port())


def test_worker_terminal_and_django_meet_over_tls(place, port):
    async def scenario():
        place.worker(port)
        visitor = await Visitor.enter(port, "lobby")
        rows = json.loads(place.look("groups", "--json").stdout)["rows"]
        assert [(row["group"], row["members"]) for row in rows] == [("chat_lobby", 1)]
        command = [sys.executable, "-c", DJANGO, place.url, place.authority.certificate, place.tokens["site"]]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert await visitor.hear() == "from Django"
        await visitor.close()

    asyncio.run(scenario())


def test_the_terminal_says_what_a_broker_or_its_certificate_lacks(place, house):
    stranger = Authority(house.folder, "stranger")
    assert "no known CA has signed the broker's certificate" in place.look("status", code=69, ca=stranger.certificate).stderr
    place.tokens["eye"].write_text("another\n")
    assert "the token is not known here" in place.look("status", code=69).stderr
    assert 'has no role "inspect"' in place.look("status", code=69, token="site").stderr
    refused = place.look("status", code=69, token="site", role=()).stderr
    assert refused.rstrip().endswith('has no role "admin", only: worker; write --role worker')
    named = ("--server-name", "elsewhere.test")
    assert 'is not for "elsewhere.test"' in place.look("status", *named, code=69).stderr
    place.tokens["eye"].chmod(0o644)
    assert "everybody on this machine may open it" in place.look("status", code=78).stderr


def test_a_client_certificate_is_shown_by_all(house, port):
    clients = Authority(house.folder, "clients")
    place = Place(house, free_port(), "--tls-client-ca", clients.certificate)
    assert "asks for a client certificate" in place.look("status", code=69).stderr
    certificate, key = clients.sign("terminal")
    assert place.look("status", "--certificate-file", certificate, "--key-file", key)
    shown, shown_key = clients.sign("worker")
    place.worker(port, "--broker-certificate-file", str(shown), "--broker-key-file", str(shown_key))
    command = [sys.executable, "-c", DJANGO.replace("token_file=", "certificate_file=sys.argv[4], key_file=sys.argv[5], token_file=")]
    done = subprocess.run(
        [*map(str, [*command, place.url, place.authority.certificate, place.tokens["site"], certificate, key])],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_replaced_token_closes_no_socket(place, house, port):
    """Revoked at the broker, the worker is refused until its file holds the new one; its visitor notices nothing."""
    async def scenario():
        worker = place.worker(port)
        visitor = await Visitor.enter(port, "lobby")
        place.admit(worker="a-new-token")
        reload(house, place.broker, "credentials_ok")
        eventually(lambda: house.readiness(worker)[0] == 503, "the worker is without a broker")
        eventually(lambda: "the token is not known here" in worker.text(), "the worker says why")
        place.token("worker", "a-new-token")
        eventually(lambda: house.readiness(worker)[0] == 200, "the worker is back", 60)
        assert worker.text().count("the token is not known here") == 1, "a refusal is logged once"
        assert await visitor.is_open()
        await visitor.say("still here")
        assert await visitor.hear() == "still here"
        await visitor.close()

    asyncio.run(scenario())
