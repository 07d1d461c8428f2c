"""The examples of docs/swift-guide.md as somebody would run them: two processes each, joined by a broker."""
import pathlib
import re
import secrets
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from examples import Example, look, refused
from programs import START_SECONDS, eventually
from tokens import base64url, json_web_token

REPOSITORY = pathlib.Path(__file__).parent.parent.parent


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
