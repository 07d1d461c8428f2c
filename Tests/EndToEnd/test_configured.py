"""A worker with routes of its own: relay, pubsub and echo from a configuration file, on two processes."""
import asyncio
import hashlib
import hmac
import http.client
import json
import signal
import time

import msgpack
import pytest
import websockets
from websockets.asyncio.client import connect

import wire
from programs import HOST, eventually
from tokens import base64url, json_web_token

SECONDS = 60
SECRET, SALT = "a secret that is long enough", "fanfare.socket"
JWT_SECRET = "another secret, of 32 bytes or more"
CONFIGURATION = """\
origins: [https://shop.example, "*.shop.example"]
origin_missing: allowed
server_name: fanfare-test
tokens:
  secret_file: {folder}/secret
  max_age_seconds: 600
jwt:
  audience: live
  key_files:
    - {{path: {folder}/jwt, kind: secret}}
routes:
  - {{path: "/ws/relay/<slug:room>/", consumer: relay, group: "relay_<room>", message_bytes: 64}}
  - {{path: "/ws/quiet/<slug:room>/", consumer: relay, group: "quiet_<room>", echo: false, presence: true}}
  - {{path: "/ws/strict/<slug:room>/", consumer: relay, group: "strict_<room>", rate: 3/h}}
  - {{path: "/ws/loose/<slug:room>/", consumer: relay, group: "loose_<room>", rate: 3/h, rate_policy: drop}}
  - {{path: "/ws/any/<path:room>", consumer: relay, group: "any_<room>"}}
  - {{path: /ws/live/, consumer: pubsub, subscribe: [news.*], auth: token, auth_required: false, batch: true}}
  - {{path: /ws/members/, consumer: pubsub, auth: token}}
  - {{path: /ws/jwt/, consumer: pubsub, auth: jwt}}
  - {{path: /ws/everybody/, consumer: echo, origins: ["*"]}}
"""


@pytest.fixture
def workers(house, broker, port):
    (house.folder / "secret").write_text(SECRET + "\n")
    (house.folder / "jwt").write_text(JWT_SECRET + "\n")
    file = house.folder / "worker.yaml"
    file.write_text(CONFIGURATION.format(folder=house.folder))
    return [house.worker(f"worker-{number}", port, True, "--config", str(file)) for number in (1, 2)]


def base62(number):
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def token(claims, secret=SECRET, age=0):
    """What django.core.signing.dumps(claims, salt=SALT) makes, so many seconds ago."""
    value = base64url(json.dumps(claims, separators=(",", ":")).encode()) + ":" + base62(int(time.time()) - age)
    key = hashlib.sha256((SALT + "signer" + secret).encode()).digest()
    return value + ":" + base64url(hmac.new(key, value.encode(), hashlib.sha256).digest())


def jwt(claims):
    return json_web_token(JWT_SECRET, **claims)


async def open_socket(port, path, **options):
    return await connect(
        f"ws://{HOST}:{port}{path}", max_queue=None, ping_interval=None, compression=None, proxy=None,
        open_timeout=SECONDS, close_timeout=SECONDS, **options,
    )


async def apart(house, port, path, group):
    """Two sockets at one address, served by different workers."""
    first = await open_socket(port, path)
    mine = {row["worker"] for row in house.rows("group", group)}
    for _ in range(200):
        second = await open_socket(port, path)
        both = {row["worker"] for row in house.rows("group", group)}
        if both > mine:
            return first, second
        await second.close()
        await asyncio.to_thread(eventually, lambda: len(house.members(group)) == 1, "the other has left")
    raise AssertionError("200 connections in a row landed on the same worker")


async def hear(socket):
    return await asyncio.wait_for(socket.recv(), SECONDS)


async def hear_json(socket):
    return json.loads(await hear(socket))


async def ask(socket, **command):
    await socket.send(json.dumps(command))
    return await hear_json(socket)


async def close_code(socket):
    await asyncio.wait_for(socket.wait_closed(), SECONDS)
    return socket.close_code


async def refused(port, path, **options):
    """The answer to a handshake that is refused."""
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await open_socket(port, path, **options)
    return refusal.value.response


def refusals(worker):
    connection = http.client.HTTPConnection(HOST, worker.ops_port, timeout=10)
    connection.request("GET", "/healthz")
    return json.loads(connection.getresponse().read())["refusals"]


def counted(workers, reason):
    return sum(refusals(worker).get(reason, 0) for worker in workers)


def test_a_relay_spans_workers_and_keeps_text_and_bytes_apart(house, workers, port):
    async def run():
        a, b = await apart(house, port, "/ws/relay/lobby/", "relay_lobby")
        sent = ["hello", "", b"\x00\xff", b"", "ü"]
        for message in sent:
            await a.send(message)
        for socket in (a, b):
            assert [await hear(socket) for _ in sent] == sent
        house.cli("group-send", "relay_lobby", '{"type": "relay.text", "text": "from the terminal"}')
        house.cli("group-send", "relay_lobby", '{"type": "relay.binary", "bytes": {"$bytes": "AP8="}}')
        for socket in (a, b):
            assert [await hear(socket), await hear(socket)] == ["from the terminal", b"\x00\xff"]
        await a.send("x" * 65)
        assert await close_code(a) == 1009
        await b.send("still here")
        assert await hear(b) == "still here"
        await b.close()

    asyncio.run(run())
    assert counted(workers, "message_bytes") == 1


def test_without_echo_only_the_others_hear_and_presence_tells_who_they_are(house, workers, port):
    async def run():
        a, b = await apart(house, port, "/ws/quiet/lobby/", "quiet_lobby")
        welcome = {"a": await hear_json(a), "b": await hear_json(b)}
        assert {notice["event"] for notice in welcome.values()} == {"welcome"}
        ids = {name: notice["id"] for name, notice in welcome.items()}
        assert set(ids.values()) == house.members("quiet_lobby")
        # Those who came and left again while two different workers were looked for are told of first.
        while (notice := await hear_json(a)) != {"type": "presence", "event": "join", "id": ids["b"]}:
            assert notice["type"] == "presence", notice
        await a.send("from a")
        await b.send("from b")
        assert await hear(b) == "from a"
        assert await hear(a) == "from b"
        await b.close()
        assert await hear_json(a) == {"type": "presence", "event": "leave", "id": ids["b"]}
        await a.close()

    asyncio.run(run())


def test_a_rate_closes_or_drops_as_its_policy_says(workers, port):
    async def run():
        strict, loose = await open_socket(port, "/ws/strict/a/"), await open_socket(port, "/ws/loose/a/")
        for number in range(5):
            await loose.send(str(number))
        assert [await hear(loose) for _ in range(3)] == ["0", "1", "2"]
        for number in range(4):
            await strict.send(str(number))
        assert await close_code(strict) == 1008
        await asyncio.wait_for(await loose.ping(), SECONDS)
        await loose.close()

    asyncio.run(run())
    eventually(lambda: counted(workers, "message_rate") == 3, "one close and two drops are counted")


def test_an_address_without_a_group_is_answered_404(workers, port):
    async def run():
        for path in ("/ws/any/a/b", "/ws/any/a%20b", "/ws/any/" + "a" * 96, "/ws/relay/a.b/", "/ws/nothing/"):
            response = await refused(port, path)
            assert response.status_code == 404, path
            assert response.headers["server"] == "fanfare-test"
        socket = await open_socket(port, "/ws/any/a.b")
        assert socket.response.headers["server"] == "fanfare-test"
        await socket.close()

    asyncio.run(run())


def test_pubsub_under_a_token_of_django_spans_workers(house, workers, port):
    claims = {"sub": "7", "subscribe": ["user.7"], "publish": ["news.*", "user.7"]}

    async def run():
        publisher = await open_socket(port, f"/ws/live/?token={token(claims)}")
        assert await ask(publisher, id=1, subscribe=["user.7", "news.a"]) == {"id": 1, "ok": True}
        listeners = [await open_socket(port, "/ws/live/") for _ in range(20)]
        for listener in listeners:
            assert await ask(listener, id="s", subscribe=["news.a"]) == {"id": "s", "ok": True}
        assert {row["worker"] for row in house.rows("group", "pubsub_news.a", "--all")} == {"worker-1", "worker-2"}
        message = {"goal": [1, 1.5, None, "ü"]}
        assert await ask(publisher, id=2, publish="news.a", message=message) == {"id": 2, "ok": True}
        for socket in [publisher, *listeners]:
            assert await hear_json(socket) == {"group": "news.a", "message": message}
        for command, code in [
            ({"subscribe": ["user.7"]}, "forbidden"), ({"publish": "news.a", "message": 1}, "forbidden"),
            ({"subscribe": ["a/b"]}, "bad_group"), ({"subscribe": []}, "bad_command"),
        ]:
            reply = await ask(listeners[0], id=9, **command)
            assert (reply["id"], reply["error"]["code"]) == (9, code)
        assert await ask(listeners[0], id=10, unsubscribe=["news.a"]) == {"id": 10, "ok": True}
        house.cli("group-send", "pubsub_news.a", '{"type": "pubsub.message", "group": "news.a", "message": "late"}')
        assert await hear_json(listeners[1]) == {"group": "news.a", "message": "late"}
        assert await ask(listeners[0], id=11, ping=True) == {"id": 11, "ok": True}
        await asyncio.gather(*(socket.close() for socket in [publisher, *listeners]))

    asyncio.run(run())
    assert counted(workers, "forbidden_group") == 2


def test_messages_of_one_burst_arrive_in_order_in_lists(house, workers, port):
    count = 500
    expected = [{"group": "news.ticks", "message": number} for number in range(count)]

    async def run():
        listener = await open_socket(port, "/ws/live/")
        assert await ask(listener, id=1, subscribe=["news.ticks"]) == {"id": 1, "ok": True}
        bodies = [msgpack.packb({"type": "pubsub.message"} | message) for message in expected]
        # One write: the broker passes on together what it read together.
        with wire.Wire(house.socket) as sender:
            burst = [wire.frame(wire.GROUP_SEND, None, "pubsub_news.ticks", body) for body in bodies]
            sender.link.sendall(b"".join(burst))
            frames, heard = 0, []
            while len(heard) < count:
                frame = await hear_json(listener)
                frames += 1
                heard += frame if isinstance(frame, list) else [frame]
        assert heard == expected
        assert frames < count
        await listener.close()

    asyncio.run(run())


def test_malformed_commands_are_answered_and_the_tenth_in_a_row_ends_the_socket(workers, port):
    async def run():
        socket = await open_socket(port, "/ws/live/")
        for number in range(10):
            await socket.send("{" * (number + 1))
            assert (await hear_json(socket))["error"]["code"] == "bad_json"
        assert await close_code(socket) == 1008
        other = await open_socket(port, "/ws/live/")
        await other.send(b"\x00")
        assert await close_code(other) == 1003

    asyncio.run(run())


def test_a_token_that_is_missing_forged_expired_or_absurd_is_refused(workers, port):
    claims = {"sub": "7", "subscribe": ["*"]}

    async def run():
        for query, status in [
            ("", 401), ("?token=", 401), ("?token=nonsense", 401),
            (f"?token={token(claims, secret='some other secret, long enough')}", 401),
            (f"?token={token(claims, age=601)}", 401), (f"?token={token(claims | {'exp': time.time() - 1})}", 401),
            (f"?token={token({'subscribe': 'everything'})}", 403),
        ]:
            response = await refused(port, "/ws/members/" + query)
            assert response.status_code == status, query
        # A wrong token is refused also where none is needed.
        assert (await refused(port, "/ws/live/?token=nonsense")).status_code == 401
        encoded = "token64." + base64url(token(claims).encode())
        for options in [
            {"additional_headers": {"Authorization": f"Bearer {token(claims)}"}}, {"subprotocols": ["live", encoded]},
        ]:
            socket = await open_socket(port, "/ws/members/", **options)
            assert await ask(socket, id=1, subscribe=["anything"]) == {"id": 1, "ok": True}
            assert socket.subprotocol == ("live" if "subprotocols" in options else None)
            await socket.close()

    asyncio.run(run())
    assert counted(workers, "token_expired") == 2
    assert counted(workers, "token_forged") == 1
    assert counted(workers, "bad_claims") == 1


def test_keys_for_tokens_are_read_again(house, workers, port):
    claims, other = {"sub": "7", "subscribe": ["*"]}, "some other secret, long enough"

    def reload(text):
        marks = [(worker, worker.text().count(text)) for worker in workers]
        for worker in workers:
            worker.process.send_signal(signal.SIGHUP)
        for worker, before in marks:
            eventually(lambda: worker.text().count(text) > before, text)

    async def run():
        first = await open_socket(port, f"/ws/members/?token={token(claims)}")
        (house.folder / "secret").write_text(other + "\n")
        await asyncio.to_thread(reload, "keys for tokens read again")
        second = await open_socket(port, f"/ws/members/?token={token(claims, secret=other)}")
        assert (await refused(port, f"/ws/members/?token={token(claims)}")).status_code == 401
        # One file that cannot be used, and the other is not taken either.
        (house.folder / "secret").write_text(SECRET + "\n")
        (house.folder / "jwt").unlink()
        await asyncio.to_thread(reload, "keys for tokens cannot be used")
        assert (await refused(port, f"/ws/members/?token={token(claims)}")).status_code == 401
        third = await open_socket(port, f"/ws/members/?token={token(claims, secret=other)}")
        for socket in (first, second, third):
            assert await ask(socket, id=1, subscribe=["anything"]) == {"id": 1, "ok": True}

    asyncio.run(run())


def test_a_jwt_of_another_service_permits_what_its_claims_say(workers, port):
    claims = {"sub": "7", "aud": "live", "exp": int(time.time()) + 600, "subscribe": ["a"]}

    async def run():
        socket = await open_socket(port, f"/ws/jwt/?token={jwt(claims)}")
        assert await ask(socket, id=1, subscribe=["a"]) == {"id": 1, "ok": True}
        assert (await ask(socket, id=2, subscribe=["b"]))["error"]["code"] == "forbidden"
        await socket.close()
        for wrong in (claims | {"aud": "others"}, claims | {"exp": int(time.time()) - 60}):
            assert (await refused(port, f"/ws/jwt/?token={jwt(wrong)}")).status_code == 401
        # A token of the one kind is none of the other.
        assert (await refused(port, f"/ws/jwt/?token={token(claims)}")).status_code == 401
        assert (await refused(port, f"/ws/members/?token={jwt(claims)}")).status_code == 401

    asyncio.run(run())


def test_a_live_socket_ends_when_its_token_does(workers, port):
    async def run():
        short = token({"subscribe": ["*"], "exp": time.time() + 4})
        socket = await open_socket(port, f"/ws/members/?token={short}")
        assert await ask(socket, id=1, subscribe=["a"]) == {"id": 1, "ok": True}
        assert await close_code(socket) == 3000

    asyncio.run(run())


def test_pages_of_a_foreign_origin_open_no_socket(workers, port):
    async def run():
        for origin in ("https://shop.example", "https://a.shop.example", None):
            socket = await open_socket(port, "/ws/relay/a/", origin=origin)
            await socket.close()
        for origin in ("https://evil.example", "https://shop.example.evil.example", "https://eshop.example", "null"):
            assert (await refused(port, "/ws/relay/a/", origin=origin)).status_code == 403, origin
        socket = await open_socket(port, "/ws/everybody/", origin="https://evil.example")
        for message in ("", b"", "text", b"bytes"):
            await socket.send(message)
            assert await hear(socket) == message
        await socket.close()

    asyncio.run(run())
    assert counted(workers, "origin") == 4


def test_a_restarted_broker_costs_no_subscription(house, workers, broker, port):
    async def run():
        socket = await open_socket(port, f"/ws/members/?token={token({'subscribe': ['a'], 'publish': ['a']})}")
        assert await ask(socket, id=1, subscribe=["a"]) == {"id": 1, "ok": True}
        broker.kill()
        await asyncio.to_thread(
            eventually, lambda: all(house.readiness(worker)[0] == 503 for worker in workers), "the workers notice"
        )
        assert (await ask(socket, id=2, publish="a", message=1))["error"]["code"] == "unavailable"
        assert (await ask(socket, id=3, subscribe=["a"])) == {"id": 3, "ok": True}
        await asyncio.to_thread(house.broker, name="heir")
        await asyncio.to_thread(eventually, lambda: len(house.members("pubsub_a")) == 1, "it is a member again")
        assert await hear_json(socket) == {"missed": {"reason": "reconnected"}}
        # The reply and the message come on different ways: in any order.
        await socket.send(json.dumps({"id": 4, "publish": "a", "message": 2}))
        heard = [await hear_json(socket), await hear_json(socket)]
        assert {"id": 4, "ok": True} in heard and {"group": "a", "message": 2} in heard
        await socket.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "yaml, complaint",
    [
        ("routes:\n- path: /a\n  consumer: relay\n  group: g_<b>\n", ":4: routes: the group"),
        ("origins: []\n", ":1: origins: no origins are allowed"),
        ("tokens:\n  secret_file: /nonexistent\n", ":2: tokens.secret_file: the file"),
        ("routes:\n- path: /a\n  consumer: echo\n  auth: jwt\n", ":4: routes: auth: jwt needs keys"),
        ("route: []\n", ':1: unknown key "route"; did you mean "routes"?'),
    ],
)
def test_a_configuration_that_cannot_be_used_stops_the_start_with_its_line(house, yaml, complaint):
    file = house.folder / "worker.yaml"
    file.write_text(yaml)
    for more in ([], ["--check-config"]):
        done = house.run("fanfare-worker", "--listen", f"{HOST}:0", "--config", str(file), *more, code=78)
        assert f"{file}{complaint}" in done.stderr
