"""Messages that do not arrive: every one is counted, and `fanfare drops` says whose, why and when."""
import asyncio
import itertools
import json
import signal
import subprocess
import time

import msgpack
import pytest

import chat
import wire
from programs import eventually

CAPACITY = 100
# As little as a broker accepts: room for one frame of any size.
LINK_BYTES = 2_162_688
BODY = b"x" * 65_536


def rows(house, *arguments):
    """The rows of `fanfare drops` by name and reason."""
    return {(row["name"], row["reason"]): row for row in house.rows("drops", *arguments)}


def counted(house, reason):
    """The drops for one reason: of the status, and of all rows together."""
    of_rows = sum(row["count"] for row in house.rows("drops", "--all") if row["reason"] == reason)
    return house.json("status")["drops"][reason], of_rows


@pytest.fixture
def publisher(house, broker):
    with wire.Wire(house.socket, name="publisher") as publisher:
        yield publisher


def test_a_flooded_channel_accounts_for_every_message(house, publisher):
    refused = publisher.flood("jobs", ({"number": number} for number in range(250)))
    # Without an id nobody hears of the refusal; it is counted all the same.
    for number in range(30):
        publisher.write(wire.SEND, None, "jobs", msgpack.packb({"number": number}))
    publisher.ask(wire.PING)
    [channel] = house.rows("channels", "jobs")
    assert (channel["depth"], refused) == (CAPACITY, 150)
    row = rows(house, "jobs")["jobs", "full"]
    assert (row["count"], row["kind"], row["worker"], row["namespace"]) == (180, "channel", None, "default")
    received = [publisher.receive("jobs")["number"] for _ in range(channel["depth"])]
    assert received == list(range(CAPACITY))
    assert 250 + 30 == len(received) + row["count"]
    assert counted(house, "full") == (180, 180)


def test_what_all_members_lose_is_the_groups_loss(house, publisher, port):
    house.worker("worker-1", port)

    async def run():
        visitors = await asyncio.gather(*(chat.Visitor.enter(port, "lobby") for _ in range(5)))
        for _ in range(3):
            publisher.ask(wire.GROUP_SEND, "chat_lobby", msgpack.packb({"type": "nobody.knows"}), {"outcome": True})
        await asyncio.to_thread(eventually, lambda: counted(house, "undecodable") == (15, 15), "all is reported")
        [row] = house.rows("drops", "--reason", "undecodable")
        assert (row["kind"], row["name"], row["count"], row["worker"]) == ("group", "chat_lobby", 15, "worker-1")
        assert [group["drops"] for group in house.rows("groups")] == [15]
        assert {channel["drops"] for channel in house.rows("channels")} == {0}, "no channel stands for the others"
        await chat.leave(*visitors)

    asyncio.run(run())


def test_an_owner_that_never_reports_is_sent_its_capacity_and_no_more(house, publisher):
    with wire.Wire(house.socket, name="idler", role="worker", node="idler", policy={"capacity": 7}) as idler:
        assert publisher.flood("specific.idler!1", ({"number": number} for number in range(20))) == 13
        row = rows(house)["specific.idler!1", "full"]
        assert (row["count"], row["worker"]) == (13, "idler")
        received = [msgpack.unpackb(idler.next_push(wire.DELIVER)[2])["number"] for _ in range(7)]
        assert received == list(range(7))
        assert counted(house, "full") == (13, 13)
        # It reads on, and hears of what was sent without an id: at its place, before the next message.
        for number in range(20, 23):
            publisher.write(wire.SEND, None, "specific.idler!1", msgpack.packb({"number": number}))
        publisher.ask(wire.PING)
        idler.write(wire.REPORT, 7, [["specific.idler!1", 7, 0]], [])
        assert idler.next_push(wire.GAP)[1:4] == ["specific.idler!1", 3, wire.FULL]
        publisher.send("specific.idler!1", {"number": 23})
        assert msgpack.unpackb(idler.next_push(wire.DELIVER)[2]) == {"number": 23}


def test_a_flooded_group_accounts_for_every_member(house, publisher):
    members = ["queue.a", "queue.b", "queue.c"]
    publisher.ask(wire.GROUP_ADD, "news", members)
    publisher.flood("queue.a", ({} for _ in range(40)))
    accepted = dropped = 0
    for number in range(CAPACITY + 20):
        outcome = publisher.ask(wire.GROUP_SEND, "news", msgpack.packb({"number": number}), {"outcome": True})
        assert outcome["members"] == 3
        accepted, dropped = accepted + outcome["accepted"], dropped + outcome["dropped"]
    assert accepted + dropped == 3 * (CAPACITY + 20)
    found = rows(house, "queue.*")
    assert {name: found[name, "full"]["count"] for name in members} == {"queue.a": 60, "queue.b": 20, "queue.c": 20}
    assert sum(row["depth"] for row in house.rows("channels", "queue.*")) == accepted + 40
    assert counted(house, "full") == (dropped, dropped)


def read_again(owner, received):
    """Reads on until the owner has heard of `received` group messages or holes: messages and missed ones by name."""
    numbers, missed = [], {}
    while len(numbers) + sum(missed.values()) < received:
        frame = owner.pushed.pop(0) if owner.pushed else owner.read()
        assert frame, "the broker closed the connection"
        if frame[0] == wire.PING:
            owner.write(wire.PONG, frame[1])
        elif frame[0] == wire.GROUP_DELIVER:
            numbers.append(msgpack.unpackb(frame[2])["number"])
        elif frame[0] == wire.GAP:
            assert frame[3] == wire.LINK_OVERFLOW
            missed[frame[1]] = missed.get(frame[1], 0) + frame[2]
    return numbers, missed


def test_a_link_nobody_reads_accounts_for_every_message(house):
    house.broker("--limit", f"link_bytes={LINK_BYTES}")
    group_sends, sends = 100, 25
    with wire.Wire(house.socket, name="sleeper", role="worker", node="sleeper") as sleeper, \
            wire.Wire(house.socket, name="publisher") as publisher:
        sleeper.ask(wire.GROUP_ADD, "news", ["specific.sleeper!1"])
        for number in range(group_sends):
            publisher.ask(wire.GROUP_SEND, "news", msgpack.packb({"number": number, "body": BODY}), {})
        refused = publisher.flood("specific.sleeper!1", ({} for _ in range(sends)))
        silent = 4
        for _ in range(silent):
            publisher.write(wire.SEND, None, "specific.sleeper!1", msgpack.packb({}))
        publisher.ask(wire.PING)
        found = rows(house)
        group, channel = found["news", "link_overflow"], found["specific.sleeper!1", "link_overflow"]
        assert (group["kind"], group["worker"], channel["kind"], channel["worker"]) == ("group", "sleeper", "channel", "sleeper")
        assert 0 < group["count"] < group_sends
        assert refused == sends and channel["count"] == sends + silent
        total = group["count"] + channel["count"]
        assert counted(house, "link_overflow") == (total, total)
        assert len(house.rows("workers")) == 1, "the session goes on"
        # It reads again: what was on the link, in order, and then how much is missing and where.
        numbers, missed = read_again(sleeper, group_sends + silent)
        assert numbers == list(range(group_sends - group["count"]))
        assert missed == {None: group["count"], "specific.sleeper!1": silent}
        # And everything flows again.
        eventually(lambda: publisher.flood("specific.sleeper!1", [{"number": 1}]) == 0, "the link is free")
        assert msgpack.unpackb(sleeper.next_push(wire.DELIVER)[2]) == {"number": 1}


def test_drops_come_newest_first_with_filters(house, publisher):
    with wire.Wire(house.socket, name="blue", namespace="blue") as blue, \
            wire.Wire(house.socket, name="shop", role="worker", node="shop", policy={"capacity": 1}):
        publisher.flood("first", ({} for _ in range(CAPACITY + 3)))
        time.sleep(0.05)
        blue.flood("second", ({} for _ in range(CAPACITY + 2)))
        time.sleep(0.05)
        publisher.flood("specific.shop!1", [{}, {}])
        found = house.rows("drops")
        assert [(row["name"], row["worker"], row["count"]) for row in found] == [
            ("specific.shop!1", "shop", 1), ("second", None, 2), ("first", None, 3)
        ]
        ages = [row["age_milliseconds"] for row in found]
        assert ages == sorted(ages) and ages[0] + 50 <= ages[1]
        # Who loses again is the newest again.
        publisher.flood("first", [{}])
        assert [row["name"] for row in house.rows("drops")][0] == "first"
        assert [row["name"] for row in house.rows("drops", "--namespace", "blue")] == ["second"]
        assert [row["name"] for row in house.rows("drops", "specific.*")] == ["specific.shop!1"]
        assert [row["count"] for row in house.rows("drops", "--top", "2")] == [4, 2]
        table = house.cli("drops").stdout.splitlines()
        assert table[0].split() == ["AGE", "NAMESPACE", "KIND", "NAME", "WORKER", "REASON", "COUNT"]
        assert table[1].split()[1:] == ["default", "channel", "first", "-", "full", "4"]
        assert [line.split()[3] for line in table[1:4]] == ["first", "specific.shop!1", "second"]


def test_drops_can_be_watched(house, publisher):
    command = [house.binaries / "fanfare", "drops", "--watch", "0.1", "--json"]
    with subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as watch:
        assert json.loads(watch.stdout.readline())["rows"] == []
        publisher.flood("jobs", ({} for _ in range(CAPACITY + 1)))
        seen = next(rows for line in itertools.islice(watch.stdout, 300) if (rows := json.loads(line)["rows"]))
        assert seen[0]["name"] == "jobs"
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=60)
    assert watch.returncode == 0


def test_the_log_names_what_was_lost_and_does_not_flood(house, broker, publisher):
    publisher.flood("jobs", ({} for _ in range(CAPACITY + 500)))

    def warnings():
        return [line for line in broker.text().splitlines() if "messages dropped" in line]

    def warned():
        return sum(int(json.loads(line)["count"]) for line in warnings())

    eventually(lambda: warned() == 500, "the log has warned of all 500")
    assert all("jobs" in line and "full" in line for line in warnings())
    assert len(warnings()) < 100
