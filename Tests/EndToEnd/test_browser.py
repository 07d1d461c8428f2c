"""The two pages in a real browser: people in one room, on different worker processes."""
from selenium.webdriver.common.keys import Keys

from browsers import Tab
from programs import eventually

RELOADS = 100


def test_two_tabs_on_different_workers_see_each_other(house, workers, port, browser):
    address = f"http://127.0.0.1:{port}/"
    first = Tab(browser, is_first=True)
    first.enter(address, "lobby")
    second = Tab(browser)
    second.enter(address, "lobby")
    third = Tab(browser)
    third.enter(address, "elsewhere")

    for _ in range(RELOADS):
        if second.worker_pid() != first.worker_pid():
            break
        second.reload()
    assert {first.worker_pid(), second.worker_pid()} == {worker.pid for worker in workers}
    eventually(lambda: len(house.members("chat_lobby")) == 2, "the lobby has two members")

    first.say("Hello from the first tab")
    eventually(lambda: second.messages() == ["Hello from the first tab"], "the second tab sees the first's message")
    second.find("message").send_keys("<b>Hello</b> back", Keys.ENTER)
    both = ["Hello from the first tab", "<b>Hello</b> back"]
    eventually(lambda: first.messages() == both, "the first tab sees both, as text")
    eventually(lambda: second.messages() == both, "the second tab sees both, in the same order")
    first.find("log")
    browser.save_screenshot(str(house.folder / "room.png"))

    third.say("Anybody here?")
    eventually(lambda: third.messages() == ["Anybody here?"], "the third tab sees its own message")
    assert first.messages() == both and second.messages() == both

    second.close()
    eventually(lambda: len(house.members("chat_lobby")) == 1, "the closed tab's member is gone")
    assert len(house.members("chat_elsewhere")) == 1


def test_a_room_needs_a_proper_name(house, workers, port, browser):
    address = f"http://127.0.0.1:{port}/"
    tab = Tab(browser, is_first=True)
    browser.get(address)
    for name in ("two words", "../etc", "..", "é", ""):
        tab.find("room-name").clear()
        tab.find("room-name").send_keys(name, Keys.ENTER)
        assert tab.attribute("room-name", "aria-invalid") == "true", name
        assert browser.current_url == address


def test_the_page_comes_back_by_itself(house, workers, port, browser):
    tab = Tab(browser, is_first=True)
    tab.enter(f"http://127.0.0.1:{port}/", "lobby")
    victim = next(worker for worker in workers if worker.pid == tab.worker_pid())
    victim.kill()
    eventually(lambda: tab.attribute("worker", "data-pid") not in (None, str(victim.pid)), "the other worker serves the page")
    tab.say("Back again")
    eventually(lambda: tab.messages() == ["Back again"], "the message goes through the other worker")
    errors = [entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert errors == []
