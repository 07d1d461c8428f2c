"""The report: tables, targets and plots, as they stand in docs/benchmarks.md."""
import datetime
import os
import pathlib
import platform
import subprocess

from benchmark import runs, servers, tables
from benchmark.plot import Chart, Line, svg
from benchmark.tables import COST, PERCENTILES
from benchmark.targets import targets

INTRODUCTION = """\
# Benchmarks

Written by `scripts/bench`. Rounds: {rounds}, in which all systems took turns; seconds of a run: {seconds}. \
Figures are medians, with the least and the greatest in brackets; a ratio is between two runs of the same round, \
and its median and spread are \
those of the ratios. Cost is the CPU time of all server processes, user and system, for each message delivered; \
messages have 128 bytes. {account} The load generator runs on the same processors. Times move with the machine; the \
ratios are what holds.

{machine}, {date}, commit {commit}. {versions}
"""


def output_of(*command):
    """What a program says, on either stream; nothing when it is not here."""
    try:
        done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return (done.stdout + done.stderr).strip()


def package_version(package):
    return output_of("dpkg-query", "-W", "-f", "${Version}", package).split("-")[0].split("+")[0].split(":")[-1]


def facts(options, peers):
    """Where and how the run is made."""
    cpus = [line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")]
    packages = {"redis": ("Redis", "redis-server"), "nchan": ("Nchan", "libnginx-mod-nchan"),
                "mosquitto": ("Mosquitto", "mosquitto")}
    versions = [f"{title} {package_version(package)}" for peer, (title, package) in packages.items() if peer in peers]
    in_python = {"uwebsockets": "socketify", "daphne": "daphne", "uvicorn": "uvicorn"}
    requirements = (servers.PEERS / "requirements.txt").read_text().splitlines()
    pinned = dict(line.replace("[standard]", "").split("==") for line in requirements if not line.startswith("#"))
    versions += [f"{name} {pinned[name]}" for peer, name in in_python.items() if peer in peers]
    return {
        "rounds": options.rounds, "seconds": options.seconds,
        "machine": f"{len(cpus)} x {cpus[0] if cpus else platform.machine()}, Linux {platform.release()}",
        "date": datetime.date.today().isoformat(), "commit": output_of("git", "rev-parse", "--short", "HEAD"),
        "versions": f"Peers: {', '.join(versions)}." if versions else "",
        "loadAverage": os.getloadavg()[0],
    }


def markdown(results):
    """The whole text."""
    failed = f"{len(results.failures)} runs failed and are left out."
    account = failed if results.failures else "Every run accounted for every message: nothing was lost or out of order."
    parts = [INTRODUCTION.format(account=account, **results.facts)]
    for section in runs.SECTIONS:
        if not results.has(section):
            continue
        for title, table in tables.TABLES[section](results):
            parts.append(f"## {title}\n\n{table}\n")
    for name, chart, lines in charts(results):
        parts.append(f"![{chart.title}]({name})\n")
    rows = [[target.title, target.wanted, tables.cell(target.measured, unit=target.unit), target.verdict]
            for target in targets(results)]
    parts.append("## Targets\n\n" + tables.markdown(["target", "wanted", "measured", "the median"], rows) + "\n")
    return "\n".join(parts)


def charts(results):
    """File name, chart and lines of each plot there is something for."""
    systems = {system.key: system.title for system in servers.WEBSOCKET_SYSTEMS}
    counts = results.sizes("growth")
    lines = lines_of(systems, lambda key: [(count, results.spread(f"growth {count}", key, COST)) for count in counts])
    if lines:
        ticks = [(count, f"{count:,}".replace(",", " ")) for count in counts]
        title = "Cost per delivery against sockets in one room"
        yield "benchmarks-cost.svg", Chart(title, "sockets", "us of CPU per delivery", ticks, True), lines
    lines = lines_of(systems, lambda key: [
        (place, results.spread("latency 20", key, f"latencyMilliseconds.{name}"))
        for place, name in enumerate(PERCENTILES)
    ])
    if lines:
        title = "Latency of 20 messages/s to 1 000 sockets"
        ticks = list(enumerate(PERCENTILES.values()))
        yield "benchmarks-latency.svg", Chart(title, "percentile", "ms", ticks, False, True), lines


def lines_of(systems, points_of):
    """A line for each system that has points."""
    found = [(title, [point for point in points_of(key) if point[1] is not None]) for key, title in systems.items()]
    return [Line(title, points) for title, points in found if points]


def write(results, text, folder):
    (folder / "benchmarks.md").write_text(text)
    for name, chart, lines in charts(results):
        (folder / name).write_text(svg(chart, lines))
