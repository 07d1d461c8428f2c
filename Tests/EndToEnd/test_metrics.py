"""What Prometheus reads: that numbers are those of the traffic, and that page, dashboard and alerts name what there is."""
import asyncio
import itertools
import json
import math
import pathlib
import re
import resource
import socket

import msgpack
import pytest
import yaml

import chat
import metrics_page
import wire
from programs import HOST, eventually, free_port

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "monitoring"
ROUTE = "/ws/chat/<str:room>/"
VISITORS, MESSAGES = 7, 120
NAME = re.compile(r"\b(?:fanfare_(?:broker|worker)|process)_[a-z_]+")


@pytest.fixture
def broker(house):
    """A broker with an operations port."""
    port = free_port()
    broker = house.broker("--ops", f"{HOST}:{port}")
    broker.ops_port = port
    return broker


@pytest.fixture
def ops(broker):
    return broker.ops_port


@pytest.fixture
def worker(house, ops, port):
    return house.worker("worker-1", port)


def check_histograms(scrape):
    """Each bucket counts what the one below does and more; the last one counts all."""
    names = [name for name, family in scrape.families.items() if family.type == "histogram"]
    assert names
    for name in names:
        buckets, total, count = scrape.histogram(name)
        bounds, counts = zip(*buckets, strict=True)
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf, (name, bounds)
        assert all(low <= high for low, high in itertools.pairwise(counts)) and counts[-1] == count, (name, counts)
        # No value is above its bucket's bound, or not above the one before.
        each = [high - low for low, high in itertools.pairwise((0, *counts))]
        assert total >= sum(bound * number for bound, number in zip((0, *bounds), each)), name
        if not each[-1]:
            assert total <= sum(bound * number for bound, number in zip(bounds[:-1], each)) * (1 + 1e-9), name


def grown(before, after):
    """No counter goes back, and no series of one."""
    def counters(scrape):
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in scrape.families.values() if family.type in ("counter", "histogram") for sample in family.samples
        }

    earlier, later = counters(before), counters(after)
    return all(later[key] >= value for key, value in earlier.items())


async def enter(port, room, count=VISITORS):
    return list(await asyncio.gather(*(chat.Visitor.enter(port, room) for _ in range(count))))


def test_every_message_and_byte_is_counted_once(house, ops, worker, port):
    earlier = metrics_page.Scrape(ops), metrics_page.Scrape(worker.ops_port)

    async def run():
        visitors = await enter(port, "lobby")
        sent = 0
        for number in range(MESSAGES):
            text = f"{number:04d}"
            await visitors[0].say(text)
            # A header of two bytes, four of the mask.
            sent += len(json.dumps({"message": text})) + 6
        for visitor in visitors:
            assert await visitor.hear_until(f"{MESSAGES - 1:04d}") == [f"{number:04d}" for number in range(MESSAGES - 1)]
        scrapes = metrics_page.Scrape(ops), metrics_page.Scrape(worker.ops_port)
        await chat.leave(*visitors)
        return sent, *scrapes

    sent, broker, numbers = asyncio.run(run())
    deliveries = MESSAGES * VISITORS
    assert numbers["fanfare_worker_sockets"] == VISITORS == numbers["fanfare_worker_sockets_opened_total"]
    assert numbers.by("fanfare_worker_route_sockets", "route") == {ROUTE: VISITORS}
    assert numbers["fanfare_worker_messages_in_total"] == MESSAGES == numbers["fanfare_worker_group_messages_total"]
    assert numbers["fanfare_worker_bytes_in_total"] == sent
    assert numbers["fanfare_worker_deliveries_total"] == deliveries
    # And the hello of each.
    assert numbers["fanfare_worker_messages_out_total"] == deliveries + VISITORS
    message = len(json.dumps({"message": "0000"}, separators=(",", ":"))) + 2
    assert numbers["fanfare_worker_bytes_out_total"] > deliveries * message
    assert numbers.by("fanfare_worker_drops_total", "reason") == {}
    buckets, total, count = numbers.histogram("fanfare_worker_fan_out_sockets")
    assert (total, count) == (deliveries, MESSAGES)
    assert {bound: number for bound, number in buckets if bound in (5, 10)} == {5: 0, 10: MESSAGES}

    assert broker["fanfare_broker_group_sends_total"] == MESSAGES == broker["fanfare_broker_messages_in_total"]
    assert broker["fanfare_broker_group_deliver_frames_total"] == MESSAGES == broker["fanfare_broker_messages_out_total"]
    assert (broker["fanfare_broker_groups"], broker["fanfare_broker_memberships"]) == (1, VISITORS)
    assert broker["fanfare_broker_channels"] == VISITORS
    assert broker.histogram("fanfare_broker_fan_out_members")[1:] == (deliveries, MESSAGES)
    assert broker.histogram("fanfare_broker_fan_out_seconds")[2] == MESSAGES
    assert broker.by("fanfare_broker_drops_total", "class", "reason") == {}
    for scrape in (broker, numbers):
        check_histograms(scrape)
    for before, after in zip(earlier, (broker, numbers)):
        assert grown(before, after)
    # A clock came with the messages; both loops turned.
    assert numbers.histogram("fanfare_worker_broker_lag_seconds")[2] > 0
    assert numbers.histogram("fanfare_worker_loop_lag_seconds")[2] > 0
    assert broker.histogram("fanfare_broker_loop_lag_seconds")[2] > 0


def test_round_trips_to_clients_are_measured_by_themselves(ops, worker):
    name = "fanfare_broker_round_trip_seconds"
    eventually(lambda: metrics_page.Scrape(ops).histogram(name)[2] > 0, "the broker has pinged the worker")
    check_histograms(metrics_page.Scrape(ops))


def test_what_waits_and_what_is_dropped_shows(house, ops):
    with wire.Wire(house.socket, name="publisher") as publisher:
        assert publisher.flood("jobs", ({"number": number} for number in range(130))) == 30
        publisher.ask(wire.GROUP_SEND, "nobody", msgpack.packb({"type": "x"}), {})
        scrape = metrics_page.Scrape(ops)
        assert scrape["fanfare_broker_sends_total"] == 130
        assert scrape["fanfare_broker_queued_messages"] == 100
        assert scrape["fanfare_broker_queued_bytes"] == sum(len(msgpack.packb({"number": n})) for n in range(100))
        assert scrape.by("fanfare_broker_drops_total", "class", "reason") == {("normal", "full"): 30}
        assert scrape.by("fanfare_broker_refused_total", "error") == {"channel_full": 30}
        assert scrape["fanfare_broker_errors_total"] == 30
        assert scrape["fanfare_broker_queued_messages_high"] == 100 == scrape["fanfare_broker_channel_depth_high"]
        assert scrape["fanfare_broker_queued_bytes_high"] == scrape["fanfare_broker_queued_bytes"]
        assert scrape["fanfare_broker_oldest_seconds"] > 0
        assert scrape.by("fanfare_broker_connections", "role") == {"admin": 1}
        # A group nobody is in: sent to no member.
        buckets, total, count = scrape.histogram("fanfare_broker_fan_out_members")
        assert (buckets[0], total, count) == ((0, 1), 0, 1)
        for number in range(100):
            assert publisher.receive("jobs") == {"number": number}
        scrape = metrics_page.Scrape(ops)
        assert scrape["fanfare_broker_queued_messages"] == 0 == scrape["fanfare_broker_queued_bytes"]
        assert scrape["fanfare_broker_hand_outs_total"] == 100 and scrape["fanfare_broker_oldest_seconds"] == 0
        assert scrape["fanfare_broker_queued_messages_high"] == 100
        house.rows("groups")
        publisher.write(wire.GOODBYE)
        assert publisher.read() == b""
        scrape = metrics_page.Scrape(ops)
        # The probe that waited for the broker to answer just went; the command and the publisher said goodbye.
        closed = scrape.by("fanfare_broker_closed_total", "reason")
        assert closed["goodbye"] == 2 and set(closed) <= {"goodbye", "connection_lost"}, closed
        # The command's, and the scrapes: each is one of its status.
        assert scrape.histogram("fanfare_broker_inspection_seconds")[2] >= 3
        check_histograms(scrape)


def test_closes_say_who_began_and_a_client_cannot_make_series(house, ops, worker, port):
    async def run():
        visitors = await enter(port, "lobby", 10)
        for code, visitor in zip((1000, 1001, 4000, 4321, 4999, 3333), visitors):
            await visitor.socket.close(code)
        # Not what the chat takes: it closes with 1003.
        await visitors[6].socket.send(b"binary")
        await visitors[6].socket.wait_closed()
        visitors[7].socket.transport.abort()
        await asyncio.to_thread(
            eventually, lambda: metrics_page.Scrape(worker.ops_port)["fanfare_worker_sockets"] == 2, "eight have gone"
        )
        scrape = metrics_page.Scrape(worker.ops_port)
        await chat.leave(*visitors[8:])
        return scrape

    scrape = asyncio.run(run())
    assert scrape.by("fanfare_worker_closes_total", "by", "code") == {
        ("client", "1000"): 1, ("client", "1001"): 1, ("client", "4xxx"): 3, ("client", "3xxx"): 1,
        ("worker", "1003"): 1, ("connection", "1006"): 1,
    }
    assert scrape.by("fanfare_worker_route_sockets", "route") == {ROUTE: 2}


def test_what_the_system_says_of_each_process(broker, worker, port):
    for process in (broker, worker):
        folder = pathlib.Path(f"/proc/{process.pid}")
        before = metrics_page.Scrape(process.ops_port)
        # Of the moment: another descriptor, another page may come and go.
        assert abs(before["process_open_fds"] - len(list((folder / "fd").iterdir()))) <= 3
        bytes_now = int((folder / "statm").read_text().split()[1]) * resource.getpagesize()
        assert 0.5 < before["process_resident_memory_bytes"] / bytes_now < 2
        assert before["process_max_fds"] == resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0]
        assert before["process_cpu_seconds_total"] > 0
    # A connection that says nothing is one descriptor, and nothing else.
    silent = [socket.create_connection((HOST, port)) for _ in range(40)]
    eventually(lambda: metrics_page.Scrape(worker.ops_port)["fanfare_worker_handshakes"] == 40, "40 are accepted")
    after = metrics_page.Scrape(worker.ops_port)
    assert abs(after["process_open_fds"] - before["process_open_fds"] - 40) <= 3
    assert after["process_cpu_seconds_total"] >= before["process_cpu_seconds_total"]
    for connection in silent:
        connection.close()
    eventually(lambda: metrics_page.Scrape(worker.ops_port)["fanfare_worker_handshakes"] == 0, "all are gone")


def test_a_broker_that_starts_again_is_a_resync_and_a_hole_for_all(house, ops, worker, port):
    async def run():
        visitors = await enter(port, "lobby")
        before = metrics_page.Scrape(worker.ops_port)
        assert before["fanfare_worker_broker_connected"] == 1 and before["fanfare_worker_resyncs_total"] == 0
        broker = house.programs[0]
        broker.kill()
        await asyncio.to_thread(
            eventually,
            lambda: metrics_page.Scrape(worker.ops_port)["fanfare_worker_broker_connected"] == 0,
            "the worker has noticed",
        )
        house.broker("--ops", f"{HOST}:{ops}", name="broker-again")
        await asyncio.to_thread(
            eventually, lambda: metrics_page.Scrape(worker.ops_port)["fanfare_worker_resyncs_total"] == 1, "it came back"
        )
        await asyncio.to_thread(eventually, lambda: len(house.members("chat_lobby")) == VISITORS, "all are members again")
        await visitors[0].say("after")
        for visitor in visitors:
            assert await visitor.hear() == "after"
        after = metrics_page.Scrape(worker.ops_port)
        await chat.leave(*visitors)
        return before, after

    before, after = asyncio.run(run())
    assert grown(before, after)
    assert after["fanfare_worker_links_total"] == 2 and after["fanfare_worker_resumes_total"] == 0
    assert after["fanfare_worker_gap_notices_total"] == VISITORS
    assert after["fanfare_worker_broker_connected"] == 1
    assert after.by("fanfare_worker_closes_total", "by", "code") == {}


def test_the_page_of_the_metrics_says_what_the_programs_answer(ops, worker):
    for program, port in zip(metrics_page.PROGRAMS, (ops, worker.ops_port)):
        scrape = metrics_page.Scrape(port)
        assert metrics_page.shown(program) == metrics_page.table(scrape), "write it with scripts/document-metrics"
        for name, family in scrape.families.items():
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert labels <= set(metrics_page.LABELS.get(name, [])), (name, labels)
            assert family.documentation.endswith("."), (name, family.documentation)


def names_in(expression, known):
    """The metrics an expression names: a histogram's parts are its own."""
    for name in NAME.findall(expression):
        part = re.fullmatch(r"(.+)_(?:bucket|sum|count)", name)
        yield part[1] if part and part[1] in known else name


@pytest.fixture
def known(ops, worker):
    """The families of both programs."""
    return metrics_page.Scrape(ops).families | metrics_page.Scrape(worker.ops_port).families


def check_expression(expression, known):
    """Only metrics that exist; counters and histograms as rates."""
    names = set(names_in(expression, known))
    assert names and names <= set(known), (expression, names - set(known))
    for name in names:
        if known[name].type != "gauge":
            assert re.search(rf"\b(?:rate|increase)\({name}", expression), (expression, name)
    assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}"), expression
    labels = set(re.findall(r"by \(([a-z_, ]+)\)", expression))
    allowed = {"le", "instance", "job"} | {label for name in names for label in metrics_page.LABELS.get(name, [])}
    assert {label.strip() for group in labels for label in group.split(",")} <= allowed, expression


def test_the_dashboard_shows_metrics_there_are(known):
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & places, f"{panel['title']} lies over another"
        places |= cells
        for target in panel.get("targets", []):
            assert panel["datasource"]["uid"] == "${source}", panel["title"]
            check_expression(target["expr"], known)
        assert panel["type"] == "row" or panel["targets"], panel["title"]
    shown = {name for panel in panels for target in panel.get("targets", []) for name in names_in(target["expr"], known)}
    assert {"fanfare_broker_drops_total", "fanfare_worker_drops_total", "fanfare_worker_broker_lag_seconds"} <= shown
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps([panel.get("targets", []) for panel in panels]))) - {"__rate"}
    assert {name for name in used if not name.startswith("_")} <= variables


def test_the_alerts_are_about_metrics_there_are(known):
    [group] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) > 5
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert re.fullmatch(r"\d+[sm]", rule["for"]), rule
        assert set(rule["annotations"]) == {"summary", "description"} and all(rule["annotations"].values())
        check_expression(rule["expr"], known)
