"""Who may ask the broker's operations port, and what."""
import http.client

import pytest
from selenium.webdriver.common.keys import Keys

import wire
from dashboards import Dashboard, Page
from programs import HOST, eventually
from security import Credentials, credential


@pytest.fixture
def dashboard(house):
    return Dashboard(house)


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
