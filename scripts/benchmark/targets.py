"""The targets: what each asks, what was measured, and whether the median meets it."""
import dataclasses

from benchmark import runs
from benchmark.results import Spread

COST = "serverMicrosecondsPerDelivery"
P99 = "latencyMilliseconds.p99"
# Figures that are to stay the same may differ this much.
FLAT = 1.10


@dataclasses.dataclass(frozen=True)
class Target:
    """`measured` is a `Spread`, or `None` when nothing was measured."""

    title: str
    bound: float
    unit: str
    measured: Spread | None
    is_at_least: bool = False

    @property
    def verdict(self):
        if self.measured is None:
            return "not measured"
        value = self.measured.median
        return "met" if (value >= self.bound if self.is_at_least else value <= self.bound) else "missed"

    @property
    def wanted(self):
        return f"at {'least' if self.is_at_least else 'most'} {self.bound:g}{self.unit}"


def unevenness(results, cases, system, name):
    """The greatest value of all cases over the least one, for each round."""
    rounds = [results.metric(case, system, name) for case in cases]
    shared = set.intersection(*(set(values) for values in rounds)) if rounds else set()
    return Spread.of(max(values[turn] for values in rounds) / min(values[turn] for values in rounds) for turn in shared)


def websocket_targets(results):
    for workers in (1, 2):
        system, who = f"fanfare-{workers}", f"{workers} worker{'s' if workers > 1 else ''}"
        one = f"One room of 1 000, {who}"
        yield Target(f"{one}, window 1, to the limit", 1.05, " x", results.ratio("rooms 1", system, COST, "limit"))
        yield Target(f"{one}, window 4, to the merging limit", 1.0, " x",
                     results.ratio("rooms 4", system, COST, "limit-merge"))
        for window in (1, 4):
            yield Target(f"{one}, window {window}, to uWebSockets", 1.0, " x",
                         results.ratio(f"rooms {window}", system, COST, "uwebsockets"))
        yield Target(f"100 rooms of 10, {who}, to the limit", 1.35, " x",
                     results.ratio("spread 100", system, COST, "limit"))
        yield Target(f"p99 at 20 messages/s to 1 000 sockets, {who}, to the limit", 1.3, " x",
                     results.ratio("latency 20", system, P99, "limit"))


def idle_targets(results):
    yield Target("Idle socket, the worker's own memory", 2.0, " KB",
                 results.spread("idle sockets", "fanfare-1", "pssKilobytesPerSocket"))
    yield Target("Idle socket with pings, CPU per second", 2.2, " us",
                 results.spread("idle sockets", "fanfare-1", "microsecondsPerSocketAndSecond"))


def broker_targets(results):
    for mode, title in (("group-send", "Group send to 100 links"), ("send-receive", "Acknowledged send-receive")):
        for window in runs.WINDOWS:
            # Deliveries per CPU second are the reverse of CPU per delivery.
            yield Target(f"{title}, {window} in flight: deliveries per CPU second to Redis", 1.0, " x",
                         results.ratio(f"broker {mode} {window}", "redis", COST, "broker"), is_at_least=True)
    yield Target("Group send to 1 000 and to 100 000 members in two processes, dearer to cheaper", FLAT, " x",
                 results.spread("broker members", "broker", "ratio"))


def growth_targets(results):
    cases = [f"growth {sockets}" for sockets in results.sizes("growth")]
    yield Target("Cost per delivery, 100 to 20 000 sockets on a worker: greatest to least", FLAT, " x",
                 unevenness(results, cases, "fanfare-1", COST))
    for verb in ("add", "discard"):
        yield Target(f"Group {verb}, 1 000 to 1 000 000 memberships: greatest to least", FLAT, " x",
                     results.spread("growth churn", "broker", growth_of(verb)))
    yield Target("Memory of a membership beyond the names, at 1 000 000", 200, " bytes",
                 results.spread("growth churn", "broker", bytes_beyond_names(-1)))
    yield Target("Resync of 1 000 000 memberships, the slowest", 5, " s",
                 results.spread("growth resync", "broker", slowest_resync))


def start_targets(results):
    for program, bound in (("worker", 100), ("broker", 50)):
        yield Target(f"Start of a {program} until it serves, the median start", bound, " ms",
                     results.spread("start time", f"start-{program}", "milliseconds.p50"))


def growth_of(verb):
    """The cost of `verb` at the size where it is greatest over that where it is least."""
    def ratio(values):
        costs = [row[verb]["serverMicroseconds"] for row in values["rows"]]
        return max(costs) / min(costs)
    return ratio


def bytes_beyond_names(row):
    def difference(values):
        return values["rows"][row]["bytesPerMembership"] - values["rows"][row]["nameBytesPerMembership"]
    return difference


def slowest_resync(values):
    return max(run["seconds"] for run in values["runs"])


def targets(results):
    """All targets, in the order of the job's list."""
    for part in (websocket_targets, idle_targets, broker_targets, growth_targets, start_targets):
        yield from part(results)
