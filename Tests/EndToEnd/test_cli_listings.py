"""The listings of `fanfare`: columns, order, pages, sums, filters; as tables, as one document and as lines."""
import json
import socket
import subprocess

import pytest

import wire
from programs import eventually

USAGE, UNAVAILABLE = 64, 69
NODE = "listed"


@pytest.fixture
def owner(house, broker):
    """A process with seven channels in seven groups, some of which have lost something."""
    with wire.Wire(house.socket, name="newsroom", role="worker", node=NODE, attributes={"pid": "4711"}) as owner:
        owner.ask(wire.OPEN_CHANNELS, [[f"specific.{NODE}!{number}", {}] for number in range(7)])
        for number in range(7):
            owner.ask(wire.GROUP_ADD, f"group-{number}", [f"specific.{NODE}!{member}" for member in range(number + 1)])
        yield owner


def lines(done):
    return done.stdout.splitlines()


def heading(done):
    return lines(done)[0].split()


def objects(done):
    return [json.loads(line) for line in lines(done)]


def leave_traces(house, owner):
    """A message that is dropped and a session that has ended, for the listings of both."""
    assert owner.flood(f"specific.{NODE}!0", ({} for _ in range(101))) == 1
    with wire.Wire(house.socket, name="visitor") as visitor:
        visitor.write(wire.GOODBYE)
    eventually(lambda: house.rows("closed", "visitor"), "the visitor is among the closed")


LISTINGS = [["groups"], ["group", "group-6"], ["channels"], ["workers"], ["sessions"], ["drops"], ["closed", "visitor"]]


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda words: words[0])
def test_every_listing_is_a_table_a_document_and_lines(house, owner, listing):
    leave_traces(house, owner)
    document = house.json(*listing, "--limit", "5")
    assert document["total"] >= len(document["rows"]) >= 1 and isinstance(document["totals"], dict)
    rows = objects(house.cli(*listing, "--jsonl"))
    assert len(rows) == house.json(*listing)["total"] and all(isinstance(row, dict) for row in rows)
    assert len(objects(house.cli(*listing, "--jsonl", "--limit", "1"))) == 1
    table = house.cli(*listing)
    assert len(heading(table)) > 3 and table.stderr == "" and "\x1b" not in table.stdout
    assert lines(table)[-2] == "" and lines(table)[-1].split()[0] == str(document["total"])


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda words: words[0])
def test_columns_are_chosen_and_ordered(house, owner, listing):
    key = {"group": "channel", "groups": "group", "channels": "channel"}.get(listing[0], "name")
    known = "namespace" if listing[0] != "drops" else "kind"
    assert heading(house.cli(*listing, "--columns", f"{known},{key}")) == [known.upper(), key.upper()]
    for row in house.json(*listing, "--columns", f"{key},{known}")["rows"]:
        assert set(row) == {key, known}
    refused = house.cli(*listing, "--columns", f"{key},colour", code=USAGE).stderr
    assert '"colour"' in refused and f"{key}," in refused


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda words: words[0])
def test_every_key_is_a_column_and_an_order(house, owner, listing):
    leave_traces(house, owner)
    keys = list(house.rows(*listing)[0])
    assert set(house.rows(*listing, "--columns", ",".join(keys))[0]) == set(keys)
    for key in keys:
        refused = house.cli(*listing, "--sort", key, code=USAGE if key == "attributes" else 0).stderr
        assert ("namespace" in refused) == (key == "attributes")


def test_lines_go_through_all_pages(house, owner):
    owner.ask(wire.GROUP_ADD, "many", [f"queue.{number}" for number in range(1000)])
    owner.ask(wire.GROUP_ADD, "many", [f"queue.{number}" for number in range(1000, 1500)])
    names = [row["channel"] for row in objects(house.cli("group", "many", "--jsonl"))]
    assert sorted(names) == sorted(f"queue.{number}" for number in range(1500))
    assert len(objects(house.cli("group", "many", "--jsonl", "--limit", "1200"))) == 1200
    assert len(house.rows("group", "many", "--limit", "1200")) == 1200
    assert [row["channel"] for row in house.rows("group", "many", "--match", "queue.1499")] == ["queue.1499"]


def test_totals_are_of_all_that_match(house, owner):
    answer = house.json("groups", "--limit", "2", "--sort", "members", "--descending")
    assert [row["members"] for row in answer["rows"]] == [7, 6]
    assert (answer["total"], answer["totals"]["members"]) == (7, 28)
    last = lines(house.cli("groups", "--top", "2"))[-1]
    assert last.startswith("7 groups: 28 members,") and "; 2 shown, more with --cursor " in last
    assert lines(house.cli("groups", "--match", "group-[01]"))[-1].startswith("2 groups: 3 members,")
    assert lines(house.cli("workers"))[-1].startswith("1 worker: 7 channels, 28 memberships,")


def test_a_look_that_takes_too_long_is_partial_and_says_so(house, owner):
    for chunk in range(60):
        owner.ask(wire.GROUP_ADD, f"crowd-{chunk}", [f"crowd.{chunk}.{number}" for number in range(1000)])
    def look():
        done = house.cli("channels", "--sort", "depth", "--budget", "1", "--json")
        return done if json.loads(done.stdout).get("partial") else None
    done = eventually(look, "60000 channels are too many for a millisecond")
    assert "partial" in done.stderr and "1 ms" in done.stderr
    assert house.json("channels", "--limit", "1", "--budget", "10000").get("partial") is None


def test_sessions_have_their_traffic_and_lag(house, owner):
    house.cli("group-send", "group-6", "{}")
    owner.next_push(wire.GROUP_DELIVER)
    owner.ask(wire.PING)
    [row] = house.rows("sessions", "newsroom")
    assert (row["messages_out"], row["drops"]) == (1, 0) and row["remote"]
    assert {"rate_in", "rate_out", "messages_in", "lag_milliseconds"} <= set(row)
    assert {"NAME", "LAG", "IN/s", "OUT/s", "DROPS", "LINK"} <= set(heading(house.cli("sessions")))


def test_closed_connections_say_why(house, owner):
    with wire.Wire(house.socket, name="polite") as polite:
        polite.send("jobs", {})
        polite.write(wire.GOODBYE)
    with wire.Wire(house.socket, name="loud"):
        house.cli("kick", "loud", "--reason", "too loud")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(house.socket))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.recv(65536)
    polite, loud = (
        eventually(lambda: house.rows("closed", name), f"{name} is among the closed")[0] for name in ("polite", "loud")
    )
    assert (polite["reason"], polite["messages_in"], polite["namespace"]) == ("goodbye", 1, "default")
    assert polite["lived_milliseconds"] >= 0 and polite["age_milliseconds"] >= 0
    assert (loud["reason"], loud["detail"]) == ("kicked", "too loud")
    assert {row["name"] for row in house.rows("closed", "--reason", "kicked")} == {"loud"}
    strangers = [row for row in house.rows("closed", "--all") if row["session"] is None]
    assert strangers and all(row["reason"] not in ("goodbye", "kicked") for row in strangers)
    ages = [row["age_milliseconds"] for row in house.rows("closed")]
    assert ages == sorted(ages), "the newest first"
    table = house.cli("closed", "--reason", "kicked")
    assert {"AGE", "NAME", "REASON", "LIVED"} <= set(heading(table)) and "too loud" in table.stdout


def test_drops_are_counted_by_reason_and_found_by_age(house, owner):
    assert owner.flood("jobs", ({} for _ in range(103))) == 3
    assert owner.flood("other", ({} for _ in range(101))) == 1
    answer = house.json("drops", "--limit", "1")
    assert answer["total"] == 2 and len(answer["rows"]) == 1
    assert answer["count_by_reason"] == {"full": 4} and answer["totals"] == {"count": 4}
    assert lines(house.cli("drops"))[-1] == "2 lines: 4 messages dropped (4 full)"
    assert house.rows("drops", "--since", "0") == [] or house.json("drops", "--since", "0")["total"] <= 2
    assert house.json("drops", "--since", "1h", "--reason", "full")["total"] == 2
    assert house.json("drops", "--reason", "expired")["total"] == 0
    assert "10m" in house.cli("drops", "--since", "soon", code=USAGE).stderr


def test_a_reason_is_one_there_is(house, owner):
    with wire.Wire(house.socket, name="visitor") as visitor:
        visitor.write(wire.GOODBYE)
    ended = eventually(lambda: house.json("status")["closed"], "the visitor has gone")
    for reason in ended:
        assert house.json("closed", "--reason", reason)["total"] >= 1
    for listing, wrong, known in (("drops", "ful", ": full, expired, owner_gone,"), ("closed", "bogus", ", unauthorized,")):
        refused = house.cli(listing, "--reason", wrong, code=USAGE).stderr
        assert wrong in refused and known in refused and len(refused.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--limit", "200001"], ["--budget", "0"], ["--top", "3", "--limit", "3"],
                  ["x", "--match", "y"], ["--all", "--limit", "5"], ["--columns", ""]],
    ids=" ".join,
)
def test_wrong_words_of_a_listing_are_usage_errors(house, broker, arguments):
    assert len(house.cli("groups", *arguments, code=USAGE).stderr.splitlines()) == 1


def test_flush_says_what_will_be_gone(house, owner):
    owner.send("jobs", {})
    done = house.cli("flush", "--namespace", "default", "--yes", "--json")
    assert json.loads(done.stdout) == {"flushed": "default", "channels": 8, "messages": 1, "groups": 7, "memberships": 28}
    assert "8 channels with 1 unread message, 7 groups with 28 memberships" in done.stderr
    assert house.json("status")["memberships"] == 0
