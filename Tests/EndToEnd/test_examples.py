"""The examples of docs/swift-guide.md as somebody would run them: two processes each, joined by a broker."""
import base64
import concurrent.futures
import contextlib
import hashlib
import hmac
import http.client
import json
import pathlib
import re
import secrets
import sqlite3
import time
import urllib.parse

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from browsers import Tab
from programs import START_SECONDS, eventually

SECONDS = 60
REPOSITORY = pathlib.Path(__file__).parent.parent.parent


class Example:
    """One running example."""

    def __init__(self, house, name, topic, *arguments):
        self.program = house.start(
            name, "fanfare-examples", topic, "--listen", "127.0.0.1:0", "--broker", house.endpoint, "--name", name, *arguments
        )
        self.url = eventually(self.ready, f"{name} is ready", START_SECONDS)

    def ready(self):
        assert self.program.is_running(), f"{self.program.name} ended:\n{self.program.text()}"
        found = re.search(r"^fanfare-examples ready on (http://\S+)$", self.program.text(), re.MULTILINE)
        return found and found[1]

    def http(self, method, path, body=None, **headers):
        """Status and body, which is JSON unless it is text."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(text) if is_json else text

    @contextlib.contextmanager
    def socket(self, path, **options):
        url = self.url.replace("http:", "ws:") + path
        with connect(url, open_timeout=SECONDS, close_timeout=SECONDS, compression=None, proxy=None, **options) as socket:
            yield Socket(socket)


class Socket:
    def __init__(self, socket):
        self.raw = socket

    def say(self, value):
        self.raw.send(value if isinstance(value, (str, bytes)) else json.dumps(value))

    def hear(self):
        return json.loads(self.raw.recv(SECONDS))

    def hear_text(self):
        return self.raw.recv(SECONDS)

    def hear_close(self):
        with pytest.raises(ConnectionClosed) as closed:
            self.raw.recv(SECONDS)
        return closed.value.rcvd.code


def refused(connecting):
    with pytest.raises(InvalidStatus) as refusal, connecting:
        pass
    return refusal.value.response.status_code


def look(browser, expression):
    """What a script finds in the page in one look, `None` while it goes to another page."""
    try:
        return browser.execute_script(f"return {expression}")
    except WebDriverException:
        return None


# The chat


def test_the_chat_joins_people_of_two_processes(house, broker):
    here, there = Example(house, "here", "chat"), Example(house, "there", "chat")
    with here.socket("/ws/chat/lobby/") as ada, there.socket("/ws/chat/lobby/") as bob, there.socket("/ws/chat/attic/") as eve:
        eventually(lambda: len(house.members("chat_lobby")) == 2, "both are in the room")
        for number in range(20):
            ada.say({"message": f"Hello {number}"})
        expected = [{"message": f"Hello {number}"} for number in range(20)]
        assert [ada.hear() for _ in expected] == expected and [bob.hear() for _ in expected] == expected

        house.cli("group-send", "chat_lobby", '{"type": "chat.message", "message": "from the terminal"}')
        assert ada.hear() == bob.hear() == {"message": "from the terminal"}

        eve.say({"message": "alone"})
        assert eve.hear() == {"message": "alone"}
        bob.say("no JSON")
        assert bob.hear_close() == 1007
        eventually(lambda: len(house.members("chat_lobby")) == 1, "who was closed has left the room")
        ada.say({"message": "still here"})
        assert ada.hear() == {"message": "still here"}
    assert here.http("GET", "/")[0] == 200
    assert here.http("GET", "/ws/chat/lobby/")[0] == 426
    assert refused(here.socket(f"/ws/chat/{'x' * 200}/")) == 400
    assert here.program.terminate() == 0


def test_the_chat_in_the_browser(house, broker, browser):
    here, there = Example(house, "here", "chat"), Example(house, "there", "chat")
    browser.get(f"{here.url}/")
    browser.find_element(By.TAG_NAME, "input").send_keys("lobby", Keys.ENTER)
    eventually(lambda: browser.current_url == f"{here.url}/chat/lobby/", "the room's page opens")
    eventually(lambda: look(browser, "document.querySelector('#state').innerText") == "connected", "the page is connected")
    with there.socket("/ws/chat/lobby/") as bob:
        browser.find_element(By.TAG_NAME, "input").send_keys("<b>Hello</b>", Keys.ENTER)
        assert bob.hear() == {"message": "<b>Hello</b>"}
        bob.say({"message": "Hello back"})
        texts = "[...document.querySelectorAll('#log li')].map((entry) => entry.innerText)"
        eventually(lambda: look(browser, texts) == ["<b>Hello</b>", "Hello back"], "the page shows both")


def test_the_guide_shows_what_the_examples_are():
    guide = (REPOSITORY / "docs" / "swift-guide.md").read_text()
    shown = re.findall(r"<!-- (Sources/\S+) -->\n+```\w+\n(.*?)```", guide, re.DOTALL)
    assert {path for path, _ in shown} >= {"Sources/Examples/ChatExample.swift", "Sources/Examples/Pages/chat.html"}
    for path, code in shown:
        assert code in (REPOSITORY / path).read_text(), f"the guide differs from {path}:\n{code}"


# The marketplace


@pytest.fixture
def marketplace(house, broker):
    """Two processes that share one database file."""
    file = house.folder / "marketplace.sqlite"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: Example(house, name, "marketplace", "--database", str(file)), ["first", "second"]))


def make_room(example, product=7, owner="Ada", visitor="Grace"):
    status, room = example.http("POST", f"/products/{product}/rooms", {"owner": owner, "visitor": visitor})
    assert status == 201, room
    return room


def path_of(room):
    return f"/ws/room/{room['id']}/messages"


def error_of(answer):
    assert list(answer) == ["error"] and set(answer["error"]) == {"code", "message"} and answer["error"]["message"], answer
    return answer["error"]["code"]


def test_a_product_has_one_room_for_each_visitor(marketplace):
    first, second = marketplace
    room = make_room(first)
    assert room == {"id": room["id"], "product_id": 7, "owner": "Ada", "visitor": "Grace"}
    assert second.http("POST", "/products/7/rooms", {"owner": "Ada", "visitor": "Grace"}) == (200, room)
    others = [make_room(second, visitor="Edsger"), make_room(first, product=8), make_room(second, owner="Barbara")]
    assert len({room["id"] for room in [room, *others]}) == 4
    assert second.http("GET", f"/rooms/{room['id']}/messages") == (200, {"room": room, "messages": [], "more": False})


def test_wrong_calls_are_answered_with_json(marketplace):
    example = marketplace[0]
    room = make_room(example)
    for body, code in [
        (b"{", "invalid_json"), (b"", "invalid_json"), ({"owner": "Ada"}, "invalid_json"), ({"owner": 1, "visitor": "b"}, "invalid_json"),
        ({"owner": "", "visitor": "b"}, "wrong_name"), ({"owner": "a", "visitor": "b" * 51}, "wrong_name"),
        ({"owner": "a", "visitor": "\n"}, "wrong_name"), ({"owner": "a", "visitor": "a"}, "wrong_name"),
    ]:
        status, answer = example.http("POST", "/products/7/rooms", body)
        assert (status, error_of(answer)) == (400, code), body
    for query in ("limit=0", "limit=101", "limit=x", "before=0", "before=-1", "before=99999999999999999999"):
        status, answer = example.http("GET", f"/rooms/{room['id']}/messages?{query}")
        assert (status, error_of(answer)) == (400, "wrong_parameter"), query
    status, answer = example.http("GET", "/rooms/4711/messages")
    assert (status, error_of(answer)) == (404, "no_such_room")
    assert example.http("POST", "/products/cheese/rooms", {"owner": "a", "visitor": "b"})[0] == 404
    assert example.http("GET", "/products/7/rooms")[0] == 405


def test_a_room_that_does_not_exist_is_refused_with_json_and_a_close(marketplace):
    with marketplace[0].socket("/ws/room/4711/messages") as socket:
        assert error_of(socket.hear()) == "no_such_room"
        assert socket.hear_close() == 4404
    assert refused(marketplace[0].socket("/ws/room/cheese/messages")) == 404


def test_wrong_messages_are_answered_with_json_and_end_nothing(house, marketplace):
    first, second = marketplace
    room = make_room(first)
    # A database that fails for one text only.
    with contextlib.closing(sqlite3.connect(house.folder / "marketplace.sqlite", timeout=SECONDS)) as database:
        database.execute(
            "CREATE TRIGGER disk_full BEFORE INSERT ON message WHEN NEW.text = 'too much' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with first.socket(path_of(room)) as ada, second.socket(path_of(room)) as grace:
        for message, code in [
            ("{", "invalid_json"), ("", "invalid_json"), ("{} {}", "invalid_json"), ("[1]", "wrong_type"), ("null", "wrong_type"),
            ({"text": "Hello"}, "wrong_type"), ({"text": 1, "sender": "Ada"}, "wrong_type"), ({"text": None, "sender": "Ada"}, "wrong_type"),
            ({"text": "", "sender": "Ada"}, "wrong_length"), ({"text": "é" * 2001, "sender": "Ada"}, "wrong_length"),
            ({"text": "a\0b", "sender": "Ada"}, "wrong_character"), ({"text": "Hello", "sender": "Eve"}, "unknown_sender"),
            ({"text": "too much", "sender": "Ada"}, "database"), (b"\x00\x01", "binary"),
        ]:
            ada.say(message)
            assert error_of(ada.hear()) == code, message
        ada.say({"text": "é" * 2000, "sender": "Ada", "more": "is not read"})
        for socket in (ada, grace):
            heard = socket.hear()
            assert (heard["text"], heard["sender"]) == ("é" * 2000, "Ada")
    messages = second.http("GET", f"/rooms/{room['id']}/messages")[1]["messages"]
    assert [message["text"] for message in messages] == ["é" * 2000]


def test_without_a_broker_messages_are_kept_and_sockets_stay(house, marketplace, broker):
    first, second = marketplace
    room = make_room(first)
    with first.socket(path_of(room)) as ada, second.socket(path_of(room)) as grace:
        broker.kill()
        ada.say({"text": "kept", "sender": "Ada"})
        assert error_of(ada.hear()) == "not_delivered"
        house.broker(name="heir")
        eventually(lambda: len(house.members(f"room_{room['id']}")) == 2, "both are in the room again")
        ada.say({"text": "delivered", "sender": "Ada"})
        assert ada.hear()["text"] == grace.hear()["text"] == "delivered"
    messages = second.http("GET", f"/rooms/{room['id']}/messages")[1]["messages"]
    assert [message["text"] for message in messages] == ["kept", "delivered"]


def test_messages_are_stored_broadcast_and_survive_a_kill(house, marketplace):
    first, second = marketplace
    room, other = make_room(first), make_room(first, product=8)
    before = time.time()
    with first.socket(path_of(room)) as ada, second.socket(path_of(room)) as grace, second.socket(path_of(other)) as outsider:
        for number in range(12):
            ada.say({"text": f"number {number}", "sender": "Ada"})
            heard = ada.hear()
            assert heard == grace.hear() and heard["text"] == f"number {number}"
            assert list(sorted(heard)) == ["id", "sender", "text", "time"] and before - 1 < heard["time"] < time.time() + 1
        grace.say({"text": "and the answer", "sender": "Grace"})
        last = grace.hear()
        assert last == ada.hear()
        outsider.say({"text": "elsewhere", "sender": "Grace"})
        assert outsider.hear()["text"] == "elsewhere"
        first.program.kill()
        second.program.kill()

    heir = Example(house, "heir", "marketplace", "--database", str(house.folder / "marketplace.sqlite"))
    texts = [f"number {number}" for number in range(12)] + ["and the answer"]
    found, arguments = [], "limit=5"
    while True:
        page = heir.http("GET", f"/rooms/{room['id']}/messages?{arguments}")[1]
        found = page["messages"] + found
        if not page["more"]:
            break
        assert len(page["messages"]) == 5
        arguments = f"limit=5&before={page['messages'][0]['id']}"
    assert [message["text"] for message in found] == texts and found[-1] == last
    with heir.socket(path_of(room)) as ada:
        ada.say({"text": "after the restart", "sender": "Ada"})
        assert ada.hear()["id"] > last["id"]


def look_at(tab, expression):
    tab.browser.switch_to.window(tab.handle)
    return look(tab.browser, expression)


def texts_in(tab, kind=".message"):
    return look_at(tab, f"[...document.querySelectorAll('#log {kind} .text')].map((entry) => entry.innerText)")


def await_state(tab, state):
    eventually(lambda: look_at(tab, "document.querySelector('#state')?.dataset.state") == state, f"the page is {state}")


def open_room(tab, url, role):
    tab.browser.switch_to.window(tab.handle)
    tab.browser.get(f"{url}/")
    for name, text in (("product", "7"), ("owner", "Ada"), ("visitor", "Grace")):
        tab.find(name).send_keys(text)
    tab.find(f"as-{role}").send_keys(Keys.SPACE)
    tab.find("open").click()
    await_state(tab, "connected")


def test_owner_and_visitor_talk_in_the_browser(house, marketplace, browser):
    first, second = marketplace
    owner = Tab(browser, is_first=True)
    open_room(owner, first.url, "owner")
    visitor = Tab(browser)
    open_room(visitor, second.url, "visitor")

    visitor.say("Is it still there?")
    eventually(lambda: texts_in(owner) == ["Is it still there?"], "the owner sees the question")
    owner.find("message").send_keys("<i>Yes</i>, it is.", Keys.ENTER)
    both = ["Is it still there?", "<i>Yes</i>, it is."]
    eventually(lambda: texts_in(visitor) == both, "the visitor sees the answer, as text")
    eventually(lambda: texts_in(owner) == both, "the owner sees both")
    browser.save_screenshot(str(house.folder / "marketplace.png"))
    assert texts_in(owner, ".mine") == both[1:]

    # The other process serves the page after this one is gone, and the history is there.
    address = look_at(owner, "location.href")
    first.program.kill()
    await_state(owner, "reconnecting")
    browser.get(address.replace(first.url, second.url))
    await_state(owner, "connected")
    assert texts_in(owner) == both

    room = second.http("POST", "/products/7/rooms", {"owner": "Ada", "visitor": "Grace"})[1]
    with second.socket(path_of(room)) as socket:
        for number in range(60):
            socket.say({"text": f"number {number}", "sender": "Ada"})
            socket.hear()
    everything = both + [f"number {number}" for number in range(60)]
    eventually(lambda: texts_in(visitor) == everything, "all arrive in order")
    visitor.find("log")
    browser.refresh()
    eventually(lambda: texts_in(visitor) == everything[-50:], "a page of history")
    visitor.find("earlier").click()
    eventually(lambda: texts_in(visitor) == everything, "the rest of it")
    assert not visitor.find("earlier").is_displayed()
    errors = [entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert errors == []


# The small ones


def test_routing(house, broker):
    example = Example(house, "routing", "routing")
    order = "123e4567-e89b-12d3-a456-426614174000"
    for path, status, text in [
        ("/hello/J%C3%BCrgen", 200, "Hello, Jürgen!"), (f"/orders/{order}", 200, f"order {order.upper()}"),
        ("/files/a/b.txt", 200, "the file a/b.txt"), ("/shops/cheese/", 200, "the shop cheese"),
        ("/shops/cheese/products/7", 200, "product 7 of cheese"), ("/shops/cheese/products/x", 404, "product must be a whole number"),
        ("/orders/7", 404, "order must be a UUID"), ("/nothing", 404, "nothing at this address"), ("/shops/cheese/ws/products/7", 426, ""),
    ]:
        answer = example.http("GET", path)
        assert answer[0] == status and text in answer[1], (path, answer)
    assert example.http("POST", "/hello/you")[0] == 405
    with example.socket("/shops/cheese/ws/products/7") as socket:
        assert socket.hear_text() == "product 7 of cheese"
        socket.say("Brie?")
        assert socket.hear_text() == "cheese hears: Brie?"
    assert refused(example.socket("/hello/you")) == 404


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_web_token(secret, **claims):
    signed = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{base64url(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


@pytest.fixture
def secret(house):
    text = secrets.token_hex(32)
    (house.folder / "secret").write_text(text + "\n")
    return text


def test_authentication(house, broker, secret):
    example = Example(house, "authentication", "authentication", "--secret", house.folder / "secret", "--token-seconds", "5")
    status, answer = example.http("POST", "/token", {"user": "Ada"})
    assert status == 200 and example.http("POST", "/token", {})[0] == 400
    offered = ["chat", "token64." + base64url(answer["token"].encode())]
    with example.socket("/ws/signed/", subprotocols=offered) as socket:
        assert socket.raw.subprotocol == "chat"
        assert socket.hear()["user"] == "Ada"
        socket.say("Hello")
        assert socket.hear_text() == "Ada said: Hello"
        assert socket.hear_close() == 3000  # The token has expired.
    assert refused(example.socket("/ws/signed/", subprotocols=offered)) == 401
    assert refused(example.socket("/ws/signed/")) == 401

    good = json_web_token(secret, sub="Grace", exp=int(time.time()) + 600)
    with example.socket("/ws/jwt/", additional_headers={"Authorization": f"Bearer {good}"}) as socket:
        assert socket.hear()["user"] == "Grace"
    with example.socket("/ws/jwt/", subprotocols=[f"token.{good}"]) as socket:
        assert socket.hear()["user"] == "Grace"
    for bad in (
        json_web_token(secret, sub="Grace", exp=int(time.time()) - 1), json_web_token(secret, sub="Grace"),
        json_web_token("another secret of thirty-two bytes and more", sub="Grace", exp=int(time.time()) + 600), answer["token"],
    ):
        assert refused(example.socket("/ws/jwt/", additional_headers={"Authorization": f"Bearer {bad}"})) == 401


def test_authentication_in_the_browser(house, broker, secret, browser):
    example = Example(house, "authentication", "authentication", "--secret", house.folder / "secret", "--token-seconds", "5")
    browser.get(f"{example.url}/")
    browser.find_element(By.ID, "user").send_keys("Jürgen", Keys.ENTER)

    def state():
        return look(browser, "document.querySelector('#state').innerText") or ""

    eventually(lambda: re.match("logged in as Jürgen .* subprotocol chat", state()), "the page is logged in")
    eventually(lambda: "closed with 3000" in state(), "the token has expired")


def test_background_workers_compete(house, broker):
    front = Example(house, "front", "background", "--role", "serve")
    back = [
        house.start(name, "fanfare-examples", "background", "--role", "work", "--broker", house.endpoint, "--name", name)
        for name in ("first", "second")
    ]
    for program in back:
        eventually(lambda: "fanfare-examples ready to work" in program.text(), f"{program.name} works", START_SECONDS)
    with front.socket("/ws/primes/") as socket:
        limits = list(range(1000, 1060))
        for limit in limits:
            socket.say({"below": limit})
        answers = [socket.hear() for _ in limits]
        assert sorted(answer["below"] for answer in answers) == limits  # Each once.
        assert next(answer["primes"] for answer in answers if answer["below"] == 1000) == 168
        assert {answer["pid"] for answer in answers} <= {program.pid for program in back}

        # What nobody can read costs nothing but itself, and who is left does all the work.
        house.cli("send", "primes", '{"type": "primes.nobody"}')
        assert back[0].terminate() == 0
        for limit in limits:
            socket.say({"below": limit})
        answers = [socket.hear() for _ in limits]
        assert sorted(answer["below"] for answer in answers) == limits
        assert {answer["pid"] for answer in answers} == {back[1].pid}


def test_json_as_foundation_writes_it(house, broker):
    example = Example(house, "json", "json")
    with example.socket("/ws/orders/") as socket:
        socket.say({"product_id": 7, "unit_price": 2.5, "ordered_at": "2026-01-31T12:00:00Z"})
        assert socket.hear_text() == '{"pay_before":"2026-02-14T12:00:00Z","product_id":7,"total_price":3}'
        socket.say({"product_id": 7, "unit_price": 2.5, "ordered_at": "yesterday"})
        assert "product_id" in socket.hear()["error"]


def test_a_wrong_command_line_is_explained(house, broker, secret):
    def complaint(*arguments, code):
        return house.run("fanfare-examples", *arguments, code=code).stderr

    assert "--database" in complaint("marketplace", code=64)
    assert "/nowhere/file" in complaint("marketplace", "--database", "/nowhere/file", "--broker", house.endpoint, code=1)
    assert "/nowhere" in complaint("authentication", "--secret", "/nowhere", "--broker", house.endpoint, code=1)
    assert "nonsense" in complaint("chat", "--listen", "nonsense", code=1)
    assert "ProgramFailure" not in complaint("chat", "--listen", "nonsense", code=1)
