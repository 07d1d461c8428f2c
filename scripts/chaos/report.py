"""What one scenario found, as a line for people and as JSON."""
import dataclasses

COUNTS = ["sent", "delivered", "refused", "unknown", "gap", "tail", "tail_slow", "holes", "doubled", "out_of_order"]


class Skipped(Exception):
    """This machine does not let the scenario run."""


@dataclasses.dataclass
class Report:
    scenario: str
    seed: int
    seconds: float = 0.0
    counts: dict = dataclasses.field(default_factory=dict)
    facts: dict = dataclasses.field(default_factory=dict)
    violations: list = dataclasses.field(default_factory=list)
    skipped: str | None = None
    folder: str | None = None

    @property
    def is_good(self):
        return not self.violations

    def line(self):
        if self.skipped:
            return f"{self.scenario}: skipped: {self.skipped}"
        counts = ", ".join(f"{self.counts[name]} {name}" for name in COUNTS if self.counts.get(name))
        facts = "; ".join(f"{name} {short(value)}" for name, value in self.facts.items())
        end = "good" if self.is_good else f"{len(self.violations)} VIOLATIONS"
        return f"{self.scenario}: {end} in {self.seconds:.0f} s: {counts or 'no messages'}; {facts}"

    def json(self):
        return dataclasses.asdict(self) | {"good": self.is_good}


def short(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {short(each)}" for name, each in value.items())
    return str(value)
