"""The marketplace of the examples: two processes with one database file, joined by a broker."""
import concurrent.futures
import contextlib
import sqlite3
import time

import pytest
from selenium.webdriver.common.keys import Keys

from browsers import Tab
from examples import SECONDS, Example, look, refused
from programs import eventually


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
