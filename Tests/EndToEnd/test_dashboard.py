"""The broker's dashboard in a real browser, with traffic running."""
import json
import threading

import msgpack
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import wire
from dashboards import Dashboard, Page, Traffic
from programs import HOST, eventually

# Names and messages are other people's. Each of these would run a program in a page that took it for HTML.
HOSTILE = [
    "<img src=x onerror=window.harmed=1>", "</script><script>window.harmed=1</script>", "\"><svg onload=window.harmed=1>",
    "javascript:window.harmed=1", "{{constructor.constructor('window.harmed=1')()}}", "'-alert(1)-'", "\u202eevil\u2028\0",
]


@pytest.fixture
def dashboard(house):
    return Dashboard(house)


@pytest.fixture
def traffic(house, dashboard):
    traffic = Traffic(house)
    yield traffic
    traffic.close()


@pytest.fixture
def page(browser, dashboard):
    page = Page(browser, dashboard.address)
    page.await_state("live")
    return page


def test_charts_move_and_tables_show_the_broker(house, dashboard, traffic, page):
    traffic.join("chat_lobby", 3)
    traffic.join("chat_other", 1)
    traffic.start("chat_lobby", {"text": "hello"})

    page.await_rows(lambda rows: len(rows) == 2, "both groups are listed")
    rows = page.rows()
    assert [(row["Group"], row["Members"], row["Workers"]) for row in rows] == [("chat_lobby", "3", "1"), ("chat_other", "1", "1")]
    eventually(lambda: page.line("messages").count("L") > 3, "the chart has a line")
    before = page.line("messages")
    eventually(lambda: page.line("messages") != before, "the line moves")
    eventually(lambda: float(page.texts("#chart-messages .value")[0].replace(",", "")) > 5, "messages are counted")
    eventually(lambda: float(page.texts("#chart-deliveries .value")[0].replace(",", "")) > 5, "deliveries are counted")

    def shown(label):
        return dict(zip(page.texts("#facts dt"), page.texts("#facts dd:not(.more)")))[label]
    status = dashboard.json("/api/status")
    measured = {"loop_lag_seconds", "round_trip_seconds"} & status.keys()
    assert len(page.texts("#chart-lag .legend li")) == len(measured)
    if measured:
        eventually(lambda: page.line("lag"), "the lag that is measured is drawn")
    eventually(lambda: shown("Processes") == str(status["sessions"]), "the sessions are counted")
    assert shown("Groups") == "2" and shown("Members") == "4" and shown("Channels") == "3"
    broker = page.find("#broker").text
    assert status["broker"].replace("/", " ") in broker and f"process {dashboard.broker.pid}" in broker

    page.go("workers")
    names = [row["Name"] for row in page.await_rows(lambda rows: len(rows) == 2, "both processes are listed")]
    assert names == ["sender", "worker-one"]
    page.go("channels")
    page.await_rows(lambda rows: {row["Channel"] for row in rows} == set(traffic.channels), "the channels are listed")
    assert page.rows()[0]["Worker"] == "worker-one"
    assert page.complaints() == []
    assert page.origins() == {dashboard.address.rstrip("/")}


def test_a_cursor_reads_the_charts(traffic, page):
    traffic.join("chat_lobby", 3)
    traffic.start("chat_lobby", {"text": "hello"})
    eventually(lambda: page.line("messages").count("L") > 5, "the chart has a line")
    page.find("#chart-messages .plot").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.texts("#chart-messages .moment")[0].startswith("−")
    assert page.texts("#chart-drops .moment")[0].startswith("−"), "one cursor for all charts"
    assert page.js("return document.querySelectorAll('.cursor').length") >= 4
    page.find("#chart-messages .plot").send_keys(Keys.ESCAPE)
    assert page.texts("#chart-messages .moment") == ["/s"]


def test_search_order_and_pages_are_the_brokers(house, traffic, page):
    for number in range(120):
        traffic.join(f"room-{number:03}", 1 + number % 3)
    page.await_rows(lambda rows: len(rows) == 50, "the first page is full")
    assert page.rows()[0]["Members"] == "3"
    page.sort("group")
    page.await_rows(lambda rows: rows[0]["Group"] == "room-000" and len(rows) == 50, "the groups are in order of their names")
    assert page.find("#table th[data-key='group']").get_attribute("aria-sort") == "ascending"
    page.browser.find_element(By.XPATH, "//button[text()='Next']").click()
    page.await_rows(lambda rows: rows[0]["Group"] == "room-050", "the second page follows")
    page.browser.find_element(By.XPATH, "//button[text()='Next']").click()
    page.await_rows(lambda rows: [row["Group"] for row in rows] == [f"room-{n:03}" for n in range(100, 120)], "the third is the last")
    assert "101–120 of 120" in page.texts("#panel .sum")[0]
    page.browser.find_element(By.XPATH, "//button[text()='Back']").click()
    page.await_rows(lambda rows: rows[0]["Group"] == "room-050", "back is the page before")
    page.sort("group")
    page.await_rows(lambda rows: rows[0]["Group"] == "room-119", "a second click turns the order round")

    page.search("om-01")
    page.await_rows(lambda rows: [row["Group"] for row in rows] == [f"room-{n:03}" for n in range(19, 9, -1)], "a word finds what holds it")
    page.search("room-00[12]")
    page.await_rows(lambda rows: [row["Group"] for row in rows] == ["room-002", "room-001"], "a pattern is one")
    page.search("nowhere")
    eventually(lambda: page.texts("#panel .empty") == ["Nothing is called *nowhere*."], "nothing found is said")
    assert page.complaints() == []


def test_a_group_shows_its_members_and_a_channel_itself(house, traffic, page):
    traffic.join("chat_lobby", 3)
    page.await_rows(lambda rows: len(rows) == 1, "the group is listed")
    page.find("#table tbody a").click()
    rows = page.await_rows(lambda rows: len(rows) == 3, "its members are listed", "members")
    assert {(row["Channel"], row["Worker"], row["From"]) for row in rows} == {
        (channel, "worker-one", "203.0.113.7:4711") for channel in traffic.channels}
    assert page.texts("#details-title") == ["chat_lobby"]

    page.find("#members tbody a").click()
    eventually(lambda: page.texts("#details .names a") == ["chat_lobby"], "the channel names its groups")
    assert page.texts("#details-title") == [traffic.channels[0]]
    page.find("#details .names a").click()
    page.await_rows(lambda rows: len(rows) == 3, "the way leads back", "members")
    page.browser.back()
    eventually(lambda: page.texts("#details-title") == [traffic.channels[0]], "so does the browser's")
    page.find("#details").send_keys(Keys.ESCAPE)
    eventually(lambda: not page.find("#details").is_displayed(), "Escape closes it")
    assert page.complaints() == []


def test_drops_are_shown_where_and_why(house, traffic, page):
    assert traffic.sender.flood("jobs.email", [{"n": number} for number in range(103)]) == 3
    page.go("drops")
    rows = page.await_rows(lambda rows: len(rows) == 1, "the drop is listed")
    assert (rows[0]["Name"], rows[0]["Reason"], rows[0]["Messages"]) == ("jobs.email", "full", "3")
    eventually(lambda: "full" in page.texts("#chart-drops .legend")[0], "the chart names the reason")
    page.go("channels")
    rows = page.await_rows(lambda rows: any(row["Channel"] == "jobs.email" for row in rows), "the channel is listed")
    assert (rows[0]["Channel"], rows[0]["Waiting"], rows[0]["Drops"]) == ("jobs.email", "100 of 100", "3")


def test_a_tail_shows_what_passes(house, dashboard, traffic, page):
    traffic.join("chat_lobby", 1)
    traffic.join("other", 1)
    page.go("tail")
    page.search("chat_*", "tail-match")
    page.find("#tail-run").click()
    eventually(lambda: dashboard.json("/api/status")["tails"] == 1, "the broker has the tail")
    for number in range(3):
        traffic.sender.ask(wire.GROUP_SEND, "other", msgpack.packb({"number": -1}))
        traffic.sender.ask(wire.GROUP_SEND, "chat_lobby", msgpack.packb({"number": number}))
    expected = [f'{{"number":{number}}}' for number in range(3)]
    eventually(lambda: page.texts("#tail code") == expected, "the messages of the groups it names appear, in order")
    assert page.texts("#tail a") == ["chat_lobby"] * 3

    page.find("#tail-pause").click()
    traffic.sender.ask(wire.GROUP_SEND, "chat_lobby", msgpack.packb({"number": 3}))
    eventually(lambda: page.texts("#tail-pause") == ["Go on (1)"], "a pause holds what comes")
    assert page.texts("#tail code") == expected
    page.find("#tail-pause").click()
    eventually(lambda: page.texts("#tail code") == [*expected, '{"number":3}'], "then it is shown")
    page.find("#tail-clear").click()
    assert page.texts("#tail code") == []
    page.go("groups")
    eventually(lambda: dashboard.json("/api/status")["tails"] == 0, "who looks elsewhere tails nothing")
    assert page.complaints() == []


def test_a_tail_keeps_the_newest_lines(house, traffic, page):
    traffic.join("chat_lobby", 1)
    page.go("tail")
    page.js("for (let number = 0; number < 10; number += 1) document.getElementById('tail').append(document.createElement('li'))")
    page.find("#tail-run").click()
    traffic.start("chat_lobby", {"text": "x" * 100})
    # 500 lines at 50 a second.
    eventually(lambda: len(page.texts("#tail li")) == 500 and len(page.texts("#tail code")) == 500, "the oldest lines are let go of", 60)


def test_hostile_names_and_messages_do_no_harm(house, dashboard, traffic, page):
    for number, name in enumerate(HOSTILE):
        hostile = wire.Wire(house.socket, name=name, role="worker", node=f"h{number}", attributes={"host": name, "pid": name})
        channel = f"ws.h{number}!1"
        hostile.ask(wire.OPEN_CHANNELS, [[channel, {"remote": name, name[:40]: name}]])
        traffic.threads.append(threading.Thread(target=traffic.drain, args=(hostile,), daemon=True))
        traffic.threads[-1].start()
    shown = set(HOSTILE)
    page.go("workers")
    page.await_rows(lambda rows: shown <= {row["Name"] for row in rows}, "hostile names are text")
    page.go("channels/default/ws.h0!1")
    eventually(lambda: HOSTILE[0] in page.texts("#details dd"), "hostile attributes are text")
    page.go("groups/default/" + "%3Cimg%20src%3Dx%20onerror%3Dwindow.harmed%3D1%3E")
    eventually(lambda: page.texts("#details-title") == [HOSTILE[0]], "hostile addresses are text")
    traffic.join("chat", 1)
    page.go("tail")
    page.find("#tail-run").click()
    eventually(lambda: dashboard.json("/api/status")["tails"] == 1, "the broker has the tail")
    for text in HOSTILE:
        traffic.sender.ask(wire.GROUP_SEND, "chat", msgpack.packb({text: text}))
    eventually(lambda: len(page.texts("#tail code")) == len(HOSTILE), "hostile messages are text")
    assert json.loads(page.texts("#tail code")[0]) == {HOSTILE[0]: HOSTILE[0]}
    harm = "return [window.harmed ?? null, document.scripts.length, document.querySelectorAll('main img, dialog img').length]"
    assert page.js(harm) == [None, 1, 0]
    for hash_ in ("#/%", "#/groups/%zz/x", "#/nowhere/a/b", "#/groups/__proto__/constructor", "#" + "/" * 500):
        page.js("location.hash = arguments[0]", hash_)
        page.await_state("live")
    # A group that is not there is the only thing a browser may complain of.
    assert [text for text in page.complaints() if "404 (Not Found)" not in text] == []


def test_light_dark_and_a_telephone(house, traffic, page):
    for number in range(30):
        traffic.join(f"a-group-with-quite-a-long-name-{number:03}-{'x' * 40}", 2)
    traffic.sender.flood("jobs." + "y" * 90, [{}] * 101)

    def background():
        return page.js("return getComputedStyle(document.body).backgroundColor")
    light = background()
    page.set_theme("dark")
    dark = eventually(lambda: background() != light and background(), "the page follows the system")
    page.find("#theme").click()
    eventually(lambda: background() == light, "a person's choice goes before it")
    page.browser.refresh()
    page.await_state("live")
    assert background() == light, "and is remembered"
    page.find("#theme").click()
    eventually(lambda: background() == dark, "dark can be chosen")

    page.resize(360, 740)
    for place in ("groups", "channels", "workers", "drops", "closed", "tail", "channels/default/jobs." + "y" * 90):
        page.go(place)
        eventually(lambda: page.width()[0] <= 360, f"{place} needs no more than the screen's width")
        eventually(page.shows_its_tab, f"{place} has its tab on the screen")
        assert page.js("return scrollY") == 0, f"{place} moved the page"
    page.go("groups")
    page.await_rows(lambda rows: len(rows) == 30, "the table is there")
    assert page.find("#table tbody tr").is_displayed() and page.find("#panel .order").is_displayed()
    # A chart that is pointed at has most to say above it.
    page.js("document.querySelector('#chart-messages .plot').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    eventually(lambda: "s" in page.find("#chart-messages .moment").text, "a moment is pointed at")
    cut = "[...document.querySelectorAll('.chart h2')].filter(title => title.scrollWidth > title.clientWidth)"
    assert page.js(f"return {cut}.map(title => title.textContent)") == [], "titles of charts are cut"
    assert page.complaints() == []


def test_a_telephone_shows_whole_facts(house, traffic, page):
    traffic.join("chat_lobby", 3)
    traffic.worker.write(wire.REPORT, 0, [], [[traffic.channels[0], None, 3, 6]])
    with wire.Wire(house.socket, name="broken", role="worker", node="n2") as broken:
        broken.link.sendall(b"\xff\xff\xff\xff")
        assert broken.read()[0] == wire.ERROR
    page.resize(360, 740)
    page.go("drops")
    page.await_rows(lambda rows: [row["Reason"] for row in rows] == ["undecodable"], "the drop is listed")
    assert page.cut() == [] and page.displayed("#table tr:first-child td") >= {"undecodable", "worker-one", "3"}
    page.go("closed")
    rows = page.await_rows(lambda rows: rows and rows[0]["Name"] == "broken", "the connection is listed")
    assert page.cut() == [] and page.displayed("#table tr:first-child td") >= {rows[0][label] for label in ("Why", "In words", "From")}
    assert "4294967295" in rows[0]["In words"] and rows[0]["From"].startswith("unix uid ")
    page.go("groups/default/chat_lobby")
    page.await_rows(lambda rows: len(rows) == 3, "its members are listed", "members")
    assert page.cut() == [] and page.displayed("#members tr:first-child td") >= {"worker-one", "203.0.113.7:4711"}


def test_the_keyboard_reaches_everything(traffic, page):
    traffic.join("chat_lobby", 2)
    page.await_rows(lambda rows: len(rows) == 1, "the group is listed")
    page.find("body").send_keys("/")
    assert page.js("return document.activeElement.id") == "table-search"
    page.browser.switch_to.active_element.send_keys("lobby", Keys.TAB)
    for _ in range(20):
        if page.js("return document.activeElement.textContent") == "chat_lobby":
            break
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.await_rows(lambda rows: len(rows) == 2, "the group is open", "members")
    assert page.js("return document.activeElement.id") == "details-title"


def test_a_broker_that_goes_and_comes_back(house, dashboard, traffic, page):
    eventually(lambda: page.line("connections"), "the chart has a line")
    dashboard.broker.kill()
    page.await_state("lost")
    eventually(lambda: "does not answer" in page.find("#notice").text, "what happens is said")
    house.broker("--ops", f"{HOST}:{dashboard.port}", name="next")
    page.await_state("live")
    eventually(lambda: not page.find("#notice").is_displayed(), "and is over")
    refused = [text for text in page.complaints() if "ERR_CONNECTION_REFUSED" not in text]
    assert refused == []
