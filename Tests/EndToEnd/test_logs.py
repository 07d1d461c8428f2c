"""Lines of log: what docs/logs.md says of them, and that no storm becomes a flood of them."""
import collections
import json
import pathlib
import re
import socket

import wire
from programs import eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES_MOST = 50
"""Of one message in ten seconds, as docs/logs.md says."""

STATEMENT = re.compile(r"\b(?:\w+\.)*logger\??\.(debug|info|notice|warning|error|critical|log)\(|\blog\((?=\.\w+, \")")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
KEY = re.compile(r'"((?:[^"\\]|\\\([^)]*\))+)":\s')
LEVEL = re.compile(r"\.(info|notice|warning|error)\b")
CHOSEN = {r"\(drop.kind)": ["channel", "group"]}
"""Keys that are chosen while the program runs."""
NOT_DAEMONS = {"Examples", "fanfare-bench", "fanfare-budgets", "CAllocations"}


def statements():
    """Level, messages and metadata keys of every log statement in the sources."""
    found = []
    for file in sorted((ROOT / "Sources").rglob("*.swift")):
        if file.relative_to(ROOT / "Sources").parts[0] in NOT_DAEMONS:
            continue
        text = file.read_text()
        for match in STATEMENT.finditer(text):
            end, depth = match.end(), 1
            while depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            call = text[match.end() : end - 1]
            head, _, metadata = call.partition("metadata:")
            # A statement that takes its level as an argument names those it may have.
            level = LEVEL.search(head).group(1) if match.group(1) == "log" else match.group(1) or "warning"
            keys = [key for name in KEY.findall(metadata) for key in CHOSEN.get(name, [name])]
            found.append((level, LITERAL.findall(head), keys, file.name))
    return found


def documented(heading):
    """The rows of the table under a heading of docs/logs.md, as lists of cells."""
    text = (ROOT / "docs" / "logs.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_event_from_info_on_is_documented_and_no_other():
    said = {(level, message) for level, messages, _, _ in statements() for message in messages if level != "debug"}
    # Of a conditional text both halves are messages; what they are chosen by is none.
    written = {(level, message.strip("`")) for level, message, *_ in documented("Events")}
    assert said == written
    assert len(said) > 30


def test_every_key_is_documented_and_no_other():
    used = {key for _, _, keys, _ in statements() for key in keys}
    assigned = set()
    for file in (ROOT / "Sources").rglob("*.swift"):
        assigned |= set(re.findall(r'metadata(?:Key: |\[)"(\w+)"\]? ?=?', file.read_text()))
    keys = {key.strip("`") for key, _ in documented("Keys")}
    assert used - keys == set()
    # Those of lines that gather their metadata beforehand are not told apart from others that are read.
    assert keys - used - assigned - {"reason", "remote", "detail", "suppressed", "channel"} == set()
    events = {key for _, _, cells, _ in documented("Events") for key in re.findall(r"`(\w+)`", cells)}
    assert events - keys == set()


def refuse(house, count):
    """Connections that say something else than hello, one after the other."""
    for number in range(count):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(str(house.socket))
            link.sendall(wire.frame(wire.PING, 1))
            # Answered, and then closed: the line has been written, or counted, by then.
            while link.recv(4096):
                pass


def test_a_storm_of_refused_connections_is_a_bounded_number_of_lines_that_add_up(house):
    broker = house.broker("--log-format", "json")
    before = refusals(broker)
    count = 400
    refuse(house, count)
    assert broker.terminate() == 0
    found = refusals(broker)
    lines, suppressed = found["written"] - before["written"], found["suppressed"]
    assert lines + suppressed == count, found
    # However slow this machine was: of each ten seconds at most so many, and one with the count.
    assert found["written"] <= LINES_MOST * (1 + found["windows"])
    assert suppressed > 0 or found["windows"] > 1
    for line in broker.text().splitlines():
        if line.startswith("{"):
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


def refusals(broker):
    """Lines about refused connections: those of one connection, and what the others count."""
    found = collections.Counter(written=0, suppressed=0, windows=0)
    for line in broker.text().splitlines():
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        if entry["message"] != "connection refused":
            continue
        if "suppressed" in entry:
            found["windows"] += 1
            found["suppressed"] += entry["suppressed"]
        else:
            assert entry["reason"] and entry["remote"].startswith("unix uid ") and entry["connection"] > 0
            found["written"] += 1
    return found


def test_sessions_and_their_connections_can_be_told_apart_at_debug(house):
    broker = house.broker("--log-format", "json", "--log-level", "debug")
    with wire.Wire(house.socket, name="ada", node="n", role="worker"):
        pass

    def opened():
        lines = [json.loads(line) for line in broker.text().splitlines() if '"session opened"' in line]
        return [line for line in lines if line["name"] == "ada"]

    [line] = eventually(opened, "the session is in the log")
    assert line["node"] == "n" and line["namespace"] == "default" and line["role"] == "worker"
    assert line["connection"] > 0 and line["remote"].startswith("unix uid ")
