"""docs/metrics.md is made of what the programs answer on /metrics: this reads the one and writes the other."""
import pathlib
import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
PROGRAMS = ("broker", "worker")
# Of metrics that have labels: a metric whose values have not come up yet shows none.
LABELS = {
    "fanfare_broker_info": ["version"],
    "fanfare_broker_connections": ["role"],
    "fanfare_broker_closed_total": ["reason"],
    "fanfare_broker_refused_total": ["error"],
    "fanfare_broker_reloads_total": ["result"],
    "fanfare_broker_drops_total": ["class", "reason"],
    "fanfare_broker_ops_refused_total": ["reason"],
    "fanfare_worker_info": ["version"],
    "fanfare_worker_route_sockets": ["route"],
    "fanfare_worker_drops_total": ["reason"],
    "fanfare_worker_closes_total": ["by", "code"],
    "fanfare_worker_responses_total": ["status"],
    "fanfare_worker_refusals_total": ["reason"],
    "fanfare_worker_reloads_total": ["result"],
}


class Scrape:
    """One answer of /metrics, read by Prometheus' own parser."""

    def __init__(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            self.text = answer.read().decode()
        self.families = {}
        for family in text_string_to_metric_families(self.text):
            # The parser takes _total off; the documents write names as they are scraped.
            name = family.name + ("_total" if family.type == "counter" else "")
            assert name not in self.families, f"{name} comes twice"
            self.families[name] = family

    def __getitem__(self, name):
        """The number of a metric without labels."""
        [sample] = [sample for sample in self.samples(name) if sample.name == name]
        assert not sample.labels, sample
        return sample.value

    def samples(self, name):
        assert name in self.families, f"{name} is not among {sorted(self.families)}"
        return self.families[name].samples

    def by(self, name, *labels):
        """The numbers of a metric by the values of its labels, those that are not 0."""
        assert LABELS[name] == list(labels), f"{name} has the labels {LABELS[name]}"
        numbers = {}
        for sample in self.samples(name):
            assert set(sample.labels) == set(labels), sample
            values = tuple(sample.labels[label] for label in labels)
            numbers[values[0] if len(values) == 1 else values] = sample.value
        return {values: number for values, number in numbers.items() if number}

    def histogram(self, name):
        """Its buckets as (bound, cumulative count), its sum and its count."""
        samples = self.samples(name)
        buckets = [(float(sample.labels["le"]), sample.value) for sample in samples if sample.name == f"{name}_bucket"]
        [total] = [sample.value for sample in samples if sample.name == f"{name}_sum"]
        [count] = [sample.value for sample in samples if sample.name == f"{name}_count"]
        return buckets, total, count


def table(scrape):
    """The rows of the page for one program."""
    lines = ["| metric | type | labels | what it is, what it looks like, what it means when it grows |", "|---|---|---|---|"]
    for name, family in scrape.families.items():
        labels = ", ".join(f"`{label}`" for label in LABELS.get(name, []))
        text = re.sub(r"([<>|])", r"\\\1", family.documentation)
        lines.append(f"| `{name}` | {family.type} | {labels} | {text} |")
    return "\n".join(lines) + "\n"


def marks(program):
    return f"<!-- metrics of the {program} -->\n", f"<!-- end of the metrics of the {program} -->\n"


def shown(program):
    """The table as the page has it."""
    begin, end = marks(program)
    return PAGE.read_text().partition(begin)[2].partition(end)[0]


def write(ports):
    """Writes the tables of the programs whose operations ports these are."""
    text = PAGE.read_text()
    for program, port in zip(PROGRAMS, ports, strict=True):
        begin, end = marks(program)
        head, _, rest = text.partition(begin)
        text = head + begin + table(Scrape(port)) + end + rest.partition(end)[2]
    PAGE.write_text(text)
