"""The broker's dashboard in a real browser, with traffic running, and its guard over plain HTTP."""
import http.client
import json
import socket
import threading

import msgpack
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import wire
from programs import HOST, eventually, free_port
from test_security import Credentials, credential

# Names and messages are other people's. Each of these would run a program in a page that took it for HTML.
HOSTILE = [
    "<img src=x onerror=window.harmed=1>", "</script><script>window.harmed=1</script>", "\"><svg onload=window.harmed=1>",
    "javascript:window.harmed=1", "{{constructor.constructor('window.harmed=1')()}}", "'-alert(1)-'", "\u202eevil\u2028\0",
]


class Dashboard:
    """A broker with an operations port, and what it answers."""

    def __init__(self, house, *arguments, host=HOST):
        self.house, self.port, self.host, self.arguments = house, free_port(), host, arguments
        self.broker = house.broker("--ops", f"{host}:{self.port}", *arguments)
        self.address = f"http://{HOST}:{self.port}/"

    def ask(self, path, address=HOST, **fields):
        """Status, header fields and body of a GET; `host_` is the header `host`."""
        connection = http.client.HTTPConnection(address, self.port, timeout=20)
        connection.request("GET", path, headers={name.rstrip("_").replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()

    def json(self, path, **fields):
        status, _, body = self.ask(path, **fields)
        assert status == 200, body
        return json.loads(body)

    def refusal(self, path="/api/status", **fields):
        status, _, body = self.ask(path, **fields)
        return status, json.loads(body)["code"]


@pytest.fixture
def dashboard(house):
    return Dashboard(house)


class Traffic:
    """A process with members in groups, and another that sends to them until the test ends."""

    def __init__(self, house, node="n1", name="worker-one", members=3):
        self.worker = wire.Wire(house.socket, name=name, role="worker", node=node)
        self.channels = [f"ws.{node}!{number}" for number in range(members)]
        self.worker.ask(wire.OPEN_CHANNELS, [[channel, {"remote": "203.0.113.7:4711"}] for channel in self.channels])
        self.sender = wire.Wire(house.socket, name="sender", role="publish")
        self.over = threading.Event()
        self.threads = []

    def join(self, group, count):
        self.worker.ask(wire.GROUP_ADD, group, self.channels[:count])

    def start(self, group, message):
        self.start_one(self.send, group, message)
        self.start_one(self.drain, self.worker)
        self.start_one(self.drain, self.sender)

    def start_one(self, body, *arguments):
        thread = threading.Thread(target=body, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    def send(self, group, message):
        while not self.over.wait(0.02):
            self.sender.write(wire.GROUP_SEND, None, group, msgpack.packb(message))

    def drain(self, session):
        """Reads what comes, so that the broker finds nobody slow, and answers its pings."""
        while not self.over.is_set():
            try:
                answer = session.read()
            except (TimeoutError, OSError):
                continue
            if not answer:
                return
            if answer[0] == wire.PING:
                session.write(wire.PONG, answer[1])

    def close(self):
        self.over.set()
        for session in (self.worker, self.sender):
            session.link.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


@pytest.fixture
def traffic(house, dashboard):
    traffic = Traffic(house)
    yield traffic
    traffic.close()


class Page:
    """The dashboard in the browser."""

    def __init__(self, browser, address, theme="light"):
        self.browser = browser
        self.set_theme(theme)
        browser.get(address)

    def set_theme(self, theme):
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def js(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def go(self, address):
        self.js("location.hash = arguments[0]", f"#/{address}")

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map(found => found.textContent)", selector)

    def state(self):
        return self.find("#state").get_attribute("data-state")

    def await_state(self, state):
        eventually(lambda: self.state() == state, f"the page is {state}")

    def rows(self, table="table"):
        """What the table shows: each row a map from column to text."""
        return self.js(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(row => Object.fromEntries("
            "[...row.cells].map(cell => [cell.dataset.label, cell.textContent])))", table)

    def await_rows(self, check, what, table="table"):
        return eventually(lambda: check(self.rows(table)) and self.rows(table), what)

    def search(self, text, field="table-search"):
        found = self.browser.find_element(By.ID, field)
        found.clear()
        found.send_keys(text)

    def sort(self, column):
        self.find(f"#table th[data-key='{column}'] button").click()

    def width(self):
        return self.js("return [document.documentElement.scrollWidth, window.innerWidth]")

    def shows_its_tab(self):
        """Whether the whole of the selected tab is inside the strip, and the strip on the screen."""
        return self.js(
            "const [tab, strip] = ['#tabs [aria-current]', '#tabs'].map(which => document.querySelector(which).getBoundingClientRect());"
            "return 0 <= strip.left && strip.left <= tab.left && tab.right <= strip.right && strip.right <= innerWidth")

    def cut(self):
        """The texts of cells that need more width than they have."""
        return self.js(
            "return [...document.querySelectorAll('td')].filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)")

    def displayed(self, selector):
        return set(self.js(
            "return [...document.querySelectorAll(arguments[0])].filter(found => found.offsetParent).map(found => found.textContent)", selector))

    def resize(self, width, height):
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def line(self, chart):
        """The path of a chart's first line."""
        return self.js("return [...document.querySelectorAll(`#chart-${arguments[0]} .line`)].map(line => line.getAttribute('d')).join()", chart)

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def origins(self):
        """Where the page and everything it asked for came from."""
        return set(self.js("return performance.getEntries().filter(entry => entry.name.includes('://')).map(entry => new URL(entry.name).origin)"))


@pytest.fixture
def page(browser, dashboard):
    page = Page(browser, dashboard.address)
    page.await_state("live")
    return page


# The page.


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


# The guard.


def test_the_port_shows_itself_to_this_machine_under_its_own_name(house, dashboard):
    assert dashboard.json("/api/status")["sessions"] == 0
    for host in (f"localhost:{dashboard.port}", f"[::1]:{dashboard.port}", "127.0.0.1"):
        assert dashboard.json("/api/inspect/groups", host_=host)["rows"] == []
    # DNS rebinding: the owner of a name points it to 127.0.0.1.
    assert dashboard.refusal(host_="evil.example") == (403, "forbidden")
    assert dashboard.refusal("/api/tail?kind=group", host_=f"evil.example:{dashboard.port}") == (403, "forbidden")
    # A page of another origin, and a proxy that passes on what others ask.
    assert dashboard.refusal(sec_fetch_site="cross-site") == (403, "forbidden")
    assert dashboard.refusal(x_forwarded_for="203.0.113.7") == (403, "forbidden")
    for path in ("/", "/healthz", "/readyz", "/metrics"):
        assert dashboard.ask(path, host_="evil.example")[0] == 200
    counted = dashboard.ask("/metrics")[2]
    assert 'fanfare_broker_ops_refused_total{reason="cross_site"} 1' in counted
    assert 'fanfare_broker_ops_refused_total{reason="forbidden"} 3' in counted


def test_a_port_for_other_machines_is_open_to_none_without_credentials(house):
    dashboard = Dashboard(house, host="0.0.0.0")
    assert dashboard.refusal() == (403, "forbidden")
    assert dashboard.ask("/metrics")[0] == 200


def test_a_token_sees_what_its_credential_may(house):
    credentials = Credentials(house.folder)
    credentials.write(
        credential("looker", "inspect", "groups: {send: [], join: ['chat_*']}", token="see-chat"),
        credential("all", "admin", token="see-all"), credential("web", "worker", token="work"))
    dashboard = Dashboard(house, "--credentials", str(credentials.path))
    with wire.Wire(house.socket, node="n", role="admin") as session:
        session.ask(wire.OPEN_CHANNELS, [["ws.n!1", {}]])
        for group in ("chat_lobby", "secret"):
            session.ask(wire.GROUP_ADD, group, ["ws.n!1"])

        def groups(token):
            return [row["group"] for row in dashboard.json("/api/inspect/groups", authorization=f"Bearer {token}")["rows"]]
        assert groups("see-all") == ["chat_lobby", "secret"]
        assert groups("see-chat") == ["chat_lobby"]
        assert dashboard.refusal("/api/inspect/group?name=secret", authorization="Bearer see-chat") == (403, "forbidden")
        assert dashboard.refusal() == (401, "unauthorized")
        assert dashboard.refusal(authorization="Bearer work") == (401, "unauthorized")
        for _ in range(9):
            assert dashboard.refusal(authorization="Bearer guess") == (401, "unauthorized")
        status, fields, _ = dashboard.ask("/api/status", authorization="Bearer see-all")
        assert status == 429 and int(fields["retry-after"]) > 0, "after ten wrong tokens nothing is looked at for a while"


def test_an_entry_for_loopback_needs_no_token(house):
    credentials = Credentials(house.folder)
    credentials.write(credential("here", "inspect", "loopback: true"))
    dashboard = Dashboard(house, "--credentials", str(credentials.path))
    assert dashboard.json("/api/status")["tails"] == 0
    assert dashboard.refusal(host_="evil.example") == (401, "unauthorized")


def test_the_page_asks_for_a_token_and_keeps_it_for_its_tab(house, browser):
    credentials = Credentials(house.folder)
    credentials.write(credential("looker", "inspect", token="see"))
    dashboard = Dashboard(house, "--credentials", str(credentials.path))
    page = Page(browser, dashboard.address)
    page.await_state("locked")
    eventually(lambda: page.find("#unlock").is_displayed(), "the page asks")
    page.find("#token").send_keys("wrong", Keys.ENTER)
    eventually(lambda: "not known" in page.find("#unlock-why").text, "the answer to a wrong one is shown")
    page.find("#token").send_keys("see", Keys.ENTER)
    page.await_state("live")
    assert not page.find("#unlock").is_displayed()
    page.browser.refresh()
    page.await_state("live")
    browser.switch_to.new_window("tab")
    other = Page(browser, dashboard.address)
    other.await_state("locked")


def test_nothing_here_changes_the_broker(dashboard):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/api/status", "/api/inspect/groups", "/api/tail?kind=group"):
            connection = http.client.HTTPConnection(HOST, dashboard.port, timeout=20)
            connection.request(method, path)
            assert connection.getresponse().status == 405, (method, path)


@pytest.mark.parametrize("path", [
    "/api/inspect/groups?limit=0", "/api/inspect/groups?limit=x", "/api/inspect/groups?sort=nonsense", "/api/inspect/groups?cursor=x",
    "/api/inspect/groups?match=" + "*" * 300, "/api/inspect/groups?a=%ff", "/api/inspect/groups?limit=1&limit=2", "/api/inspect/channel",
    "/api/tail", "/api/tail?kind=both",
])
def test_a_question_that_makes_no_sense_is_refused(dashboard, path):
    assert dashboard.refusal(path) == (400, "bad_request")


def test_what_is_not_there(dashboard):
    assert dashboard.refusal("/api/inspect/group?name=nowhere") == (404, "not_found")
    assert dashboard.ask("/api/inspect/nothing")[0] == 404
