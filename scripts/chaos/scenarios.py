"""All scenarios by their names on the command line."""
from chaos import hostile, kills, measurements, networks, readers, storms, surroundings

SCENARIOS = {
    "broker-kill": kills.broker_kill,
    "broker-restart": kills.broker_restart,
    "worker-kill": kills.worker_kill,
    "worker-drain": kills.worker_drain,
    "stops": kills.stops,
    "client-kill": kills.client_kill,
    "stalled-readers": readers.stalled_readers,
    "slow-readers": readers.slow_readers,
    "silent-link": networks.silent_link,
    "silent-clients": networks.silent_clients,
    "cut-cable": networks.cut_cable,
    "apart-clocks": surroundings.apart_clocks,
    "wall-clock": surroundings.wall_clock,
    "full-disk": surroundings.full_disk,
    "hostile-peers": hostile.hostile_peers,
    "storm": storms.storm,
    "no-descriptors": surroundings.no_descriptors,
}
# Named alone: they want a machine that does nothing else.
MEASUREMENTS = {
    "restart-10000": storms.restart_10000,
    "stalled-socket": measurements.stalled_socket,
    "stopped-worker": measurements.stopped_worker,
    "hostile-load": measurements.hostile_load,
}
ALL = SCENARIOS | MEASUREMENTS
