"""How large a scenario is."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    sockets: int        # Members of all rooms.
    rooms: int
    workers: int
    rate: float         # Messages a second of all publishers.
    rounds: int         # How often the scenario does its harm.
    seconds: float      # Rest before each time.
    storm: int          # Clients of a storm; of silent connections half as many.
    load: float         # Messages a second of a measurement, each to 100 members.
    measured: float     # Seconds of a measured run.
    pairs: int          # Measured runs without and with what disturbs.
    judges: bool        # Whether ratios beyond their bounds are violations.


FULL = Size(
    sockets=300, rooms=10, workers=3, rate=150, rounds=5, seconds=2, storm=10_000, load=1_000, measured=60,
    pairs=4, judges=True,
)
# A few seconds each, for scripts/test with a debug build.
SHORT = Size(
    sockets=24, rooms=3, workers=2, rate=60, rounds=1, seconds=0.3, storm=200, load=50, measured=1.5,
    pairs=2, judges=False,
)
