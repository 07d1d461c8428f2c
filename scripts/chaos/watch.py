"""Memory and descriptors of processes, from /proc."""
import collections
import pathlib

MIB = 1024 * 1024
Use = collections.namedtuple("Use", "rss anonymous descriptors seconds")


def use(pid):
    """Resident and anonymous bytes, open descriptors, and processor seconds so far."""
    process = pathlib.Path(f"/proc/{pid}")
    memory = {}
    for line in (process / "smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        memory[name] = int(size) * 1024
    ticks = (process / "stat").read_text().rpartition(")")[2].split()
    descriptors = len(list((process / "fd").iterdir()))
    return Use(memory["Rss:"], memory["Anonymous:"], descriptors, (int(ticks[11]) + int(ticks[12])) / 100)


def slope(samples):
    """Least squares over (seconds, value): change of the value in an hour; 0 for fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    middle = sum(at for at, _ in samples) / len(samples)
    mean = sum(value for _, value in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at, _ in samples)
    return 3600 * sum((at - middle) * (value - mean) for at, value in samples) / spread if spread else 0.0
