"""The tables, as Markdown that is aligned for a terminal too."""
from benchmark import runs, servers
from benchmark.targets import COST, bytes_beyond_names

PERCENTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "maximum": "maximum"}


def number(value):
    """Three digits that say something."""
    if value >= 100:
        return thousands(round(value))
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def thousands(value):
    return f"{value:,}".replace(",", " ")


def cell(spread, scale=1.0, unit=""):
    """`median (least–greatest)`; a dash where nothing was measured."""
    if spread is None:
        return "-"
    values = [number(value * scale) for value in (spread.median, spread.least, spread.greatest)]
    return f"{values[0]}{unit} ({values[1]}–{values[2]})" if values[1] != values[2] else values[0] + unit


def markdown(headings, rows):
    rows = [list(map(str, row)) for row in rows]
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(widths[at]) for at, text in enumerate(line)) + " |" for line in lines)


def present(results, case, systems):
    return [system for system in systems if results.metric(case, system.key, COST)]


def rooms(results):
    one, four = "rooms 1", "rooms 4"
    rows = []
    for system in servers.WEBSOCKET_SYSTEMS:
        if not (results.metric(one, system.key, COST) or results.metric(four, system.key, COST)):
            continue
        rows.append([
            system.title,
            cell(results.spread(one, system.key, COST)),
            cell(results.ratio(one, system.key, COST, "limit"), unit=" x"),
            cell(results.spread(four, system.key, COST)),
            cell(results.ratio(four, system.key, COST, "limit-merge"), unit=" x"),
            cell(results.spread(four, system.key, "deliveriesPerSecond"), 1e-3, " k"),
            cell(results.spread(one, system.key, "generatorShare"), 100, " %"),
        ])
    headings = [
        "1 000 sockets, one room", "window 1: us/delivery", "to the limit", "window 4: us/delivery",
        "to the merging limit", "deliveries/s (window 4)", "generator's CPU (window 1)",
    ]
    yield "One room", markdown(headings, rows)


def spread(results):
    case = "spread 100"
    rows = [[
        system.title, cell(results.spread(case, system.key, COST)),
        cell(results.ratio(case, system.key, COST, "limit"), unit=" x"),
        cell(results.spread(case, system.key, "deliveriesPerSecond"), 1e-3, " k"),
        cell(results.spread(case, system.key, "generatorShare"), 100, " %"),
    ] for system in present(results, case, servers.WEBSOCKET_SYSTEMS)]
    headings = ["100 rooms of 10, window 1", "us/delivery", "to the limit", "deliveries/s", "generator's CPU"]
    yield "Many rooms", markdown(headings, rows)


def latency(results):
    case = "latency 20"
    rows = [[
        system.title,
        *(cell(results.spread(case, system.key, f"latencyMilliseconds.{key}")) for key in PERCENTILES),
        cell(results.ratio(case, system.key, "latencyMilliseconds.p99", "limit"), unit=" x"),
    ] for system in present(results, case, servers.WEBSOCKET_SYSTEMS)]
    headings = ["20 messages/s to 1 000 sockets, ms", *PERCENTILES.values(), "p99 to the limit"]
    yield "Latency", markdown(headings, rows)


def broker(results):
    headings = ["us/delivery"] + [f"window {window}" for window in runs.WINDOWS]
    for mode, title in (("group-send", "Group send to 100 links"), ("send-receive", "Acknowledged send and receive")):
        rows = []
        for system in servers.BROKER_SYSTEMS:
            cases = [f"broker {mode} {window}" for window in runs.WINDOWS]
            if any(results.metric(case, system.key, COST) for case in cases):
                rows.append([system.title, *(cell(results.spread(case, system.key, COST)) for case in cases)])
                if system is not servers.REDIS:
                    rows.append([f"{system.title}: deliveries per CPU second to Redis", *(
                        cell(results.ratio(case, "redis", COST, system.key), unit=" x") for case in cases)])
        yield f"Broker: {title}, Unix socket", markdown(headings, rows)
    rows = [[thousands(count), cell(results.spread("broker members", "broker", f"microsecondsPerGroupSend.{count}"))]
            for count in runs.MEMBERS]
    yield "Broker: members in two processes", markdown(["members of a group", "us/group send"], rows)


def growth(results):
    rows = [[
        thousands(sockets),
        cell(results.spread(f"growth {sockets}", "limit", COST)),
        cell(results.spread(f"growth {sockets}", "fanfare-1", COST)),
        cell(results.ratio(f"growth {sockets}", "fanfare-1", COST, "limit"), unit=" x"),
    ] for sockets in results.sizes("growth")]
    headings = ["sockets in one room, window 1", "the limit: us/delivery", "Fanfare, 1 worker: us/delivery", "ratio"]
    yield "Growth: sockets", markdown(headings, rows)
    churn = ("growth churn", "broker")
    rows = [[
        thousands(memberships),
        *(cell(results.spread(*churn, f"rows.{at}.{verb}.serverMicroseconds")) for verb in ("add", "discard")),
        cell(results.spread(*churn, f"rows.{at}.bytesPerMembership")),
        cell(results.spread(*churn, bytes_beyond_names(at))),
    ] for at, memberships in enumerate(runs.MEMBERSHIPS)]
    headings = ["memberships", "us/add", "us/discard", "bytes each", "beyond the names"]
    yield "Growth: memberships", markdown(headings, rows)
    resync = ("growth resync", "broker")
    rows = [[kind, cell(results.spread(*resync, f"runs.{at}.seconds"), unit=" s"),
             cell(results.spread(*resync, f"runs.{at}.serverSeconds"), unit=" s")]
            for at, kind in enumerate(["a fresh broker", "after a loss", "after another"])]
    yield "Growth: 1 000 000 memberships registered", markdown(["by", "time", "broker's CPU"], rows)


def idle(results):
    rows = [[
        system.title,
        cell(results.spread(case, system.key, "pssKilobytesPerSocket")),
        cell(results.spread(case, system.key, "kernelKilobytesPerSocket")),
        cell(results.spread("idle sockets", system.key, "microsecondsPerSocketAndSecond")),
    ] for case in ("idle sockets", "idle peers") for system in servers.FAST_SYSTEMS
        if (case, system.key) in results.runs]
    headings = ["idle sockets", "KB of its own for each", "KB of the kernel's, both ends", "us of CPU per second"]
    yield "Idle sockets", markdown(headings, rows)


def start(results):
    case = "start time"
    rows = [[
        system.title,
        *(cell(results.spread(case, system.key, f"milliseconds.{key}")) for key in ("p50", "maximum")),
        cell(results.spread(case, system.key, "processorMilliseconds")),
    ] for system in servers.STARTED_SYSTEMS if (case, system.key) in results.runs]
    headings = ["from exec until it serves", "median, ms", "slowest, ms", "CPU time, ms"]
    yield "Start", markdown(headings, rows)


TABLES = {
    "rooms": rooms, "spread": spread, "latency": latency, "broker": broker, "growth": growth, "idle": idle,
    "start": start,
}
