"""What was measured, and its medians; ratios are always between two runs of the same round."""
import collections
import dataclasses
import json
import statistics


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values):
        values = list(values)
        return cls(statistics.median(values), min(values), max(values)) if values else None


def walk(values, path):
    for key in path.split("."):
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


class Results:
    """The JSON objects of all runs, by case, system and round."""

    def __init__(self):
        self.runs = collections.defaultdict(dict)
        self.failures = []
        self.facts = {}

    def add(self, case, system, turn, values):
        self.runs[case, system][turn] = values

    def metric(self, case, system, name):
        """Round to value.

        `name` is a key of the JSON object, a dot leading into what is inside of it (`rows.0.add`), or a function that
        computes the value from the object. What is not there in a round is left out.
        """
        found = {}
        for turn, values in self.runs.get((case, system), {}).items():
            try:
                value = name(values) if callable(name) else walk(values, name)
            except (KeyError, IndexError, TypeError):
                continue
            if value is not None:
                found[turn] = value
        return found

    def spread(self, case, system, name):
        return Spread.of(self.metric(case, system, name).values())

    def ratio(self, case, system, name, to, to_case=None):
        """How many times the value of the system `to` (in `to_case`, where it differs) in the same round."""
        mine, base = self.metric(case, system, name), self.metric(to_case or case, to, name)
        return Spread.of(mine[turn] / base[turn] for turn in mine.keys() & base.keys() if base[turn])

    def has(self, section):
        return any(case.split()[0] == section for case, _ in self.runs)

    def sizes(self, section):
        """The numbers that end the names of the section's cases, ascending."""
        last = {case.split()[-1] for case, _ in self.runs if case.split()[0] == section}
        return sorted(int(word) for word in last if word.isdecimal())

    def save(self, path):
        rows = [
            {"case": case, "system": system, "round": turn, "values": values}
            for (case, system), turns in self.runs.items() for turn, values in turns.items()
        ]
        path.write_text(json.dumps({"facts": self.facts, "failures": self.failures, "runs": rows}, indent=1))

    @classmethod
    def load(cls, paths):
        """Joins what was saved; the rounds of each file count on from those before, as they are not the same rounds."""
        results, before = cls(), 0
        for path in paths:
            saved = json.loads(path.read_text())
            results.failures += saved["failures"]
            for key in ("rounds", "seconds"):
                saved["facts"][key] = ", ".join(
                    str(facts[key]) for facts in (results.facts, saved["facts"]) if key in facts
                )
            results.facts = saved["facts"]
            for row in saved["runs"]:
                results.add(row["case"], row["system"], before + row["round"], row["values"])
            before += max((row["round"] for row in saved["runs"]), default=0)
        return results
