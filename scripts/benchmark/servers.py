"""The systems that are compared: how each is started, and how its clients speak."""
import contextlib
import ctypes.util
import dataclasses
import os
import pathlib
import resource
import shutil
import socket
import string
from collections.abc import Callable

from benchmark.programs import HOST, Program, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
VENV = ROOT / ".benchmark" / "venv"
NGINX_MODULES = pathlib.Path("/usr/lib/nginx/modules")
PATH = "/ws/chat/{room}/"


@dataclasses.dataclass
class Running:
    """Programs that serve, and what a load generator needs to know of them."""

    programs: list
    arguments: list

    @property
    def pids(self):
        return [pid for program in self.programs for pid in program.pids]

    @property
    def holders(self):
        """The processes that hold the sockets: all but the broker."""
        return [pid for program in self.programs if program.name != "broker" for pid in program.pids]


@dataclasses.dataclass(frozen=True)
class System:
    """One row of a table."""

    key: str
    title: str
    start: Callable
    peer: str = ""


class Site:
    """Starts systems in a folder of their own, and stops them. `before`: what goes before the command of a name."""

    def __init__(self, binaries, folder, before=None):
        self.binaries, self.folder = pathlib.Path(binaries), pathlib.Path(folder)
        self.before = before or {}

    @contextlib.contextmanager
    def running(self, system):
        programs = []
        try:
            yield Running(programs, system.start(self, programs))
            for program in programs:
                program.require_running()
        finally:
            for program in reversed(programs):
                program.stop()

    def run(self, programs, name, command, environment=None, inherited=()):
        command = [*self.before.get(name, []), *command]
        program = Program(name, command, self.folder, environment, inherited)
        programs.append(program)
        return program

    def configuration(self, name, **values):
        """A file of `peers` with its `$NAME`s filled in."""
        text = string.Template((PEERS / name).read_text()).substitute(FOLDER=self.folder, **values)
        path = self.folder / name
        path.write_text(text)
        return path

    def socket(self, name):
        path = self.folder / f"{name}.sock"
        path.unlink(missing_ok=True)
        return path


def websocket(port, dialect, path=PATH):
    return ["--host", HOST, "--port", port, "--path", path, "--dialect", dialect]


def file_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# --- Fanfare and the limit

def broker(site, programs):
    path = site.socket("broker")
    command = [site.binaries / "fanfare-broker", "--listen", f"unix:{path}"]
    site.run(programs, "broker", command).wait_for_text("ready on")
    return ["--protocol", "fanfare", "--broker", f"unix:{path}"]


def fanfare(workers):
    def start(site, programs):
        endpoint = broker(site, programs)[-1]
        port = free_port()
        for number in range(1, workers + 1):
            worker = site.run(programs, f"worker-{number}", [
                site.binaries / "fanfare-worker", "--name", f"worker-{number}", "--broker", endpoint,
                "--listen", f"{HOST}:{port}",
            ])
            worker.wait_for_text("ready on")
        return websocket(port, "chat")
    return start


def limit(*flags):
    def start(site, programs):
        port = free_port()
        command = [site.binaries / "fanfare-bench", "limit", "--listen", f"{HOST}:{port}", *flags]
        site.run(programs, "limit", command).wait_for_text("listening")
        return websocket(port, "frames")
    return start


def limit_links(site, programs):
    path = site.socket("limit")
    command = [site.binaries / "fanfare-bench", "limit", "--unix", path, "--merge"]
    site.run(programs, "limit", command).wait_for_text("listening")
    return ["--protocol", "limit", "--broker", f"unix:{path}"]


# --- Programs that the load generator itself starts, again and again

def broker_to_start(site, programs):
    endpoint = f"unix:{site.socket('broker')}"
    return ["--broker", endpoint, "--", site.binaries / "fanfare-broker", "--listen", endpoint]


def worker_to_start(site, programs):
    endpoint = broker(site, programs)[-1]
    address = f"{HOST}:{free_port()}"
    return ["--http", address, "--websocket", "--path", "/ws/chat/start/", "--",
            site.binaries / "fanfare-worker", "--broker", endpoint, "--listen", address]


# --- Peers

def redis(site, programs):
    path = site.socket("redis")
    server = site.run(programs, "redis", [
        "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", site.folder,
    ])
    server.wait_for_socket(path)
    return ["--protocol", "redis", "--broker", f"unix:{path}"]


def nchan(workers):
    def start(site, programs):
        port = free_port()
        configuration = site.configuration(
            "nchan.conf", PORT=port, WORKERS=workers, FILES=file_limit(), MODULES=NGINX_MODULES
        )
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        server = site.run(programs, "nchan", [nginx, "-p", site.folder, "-c", configuration])
        server.wait_for_children(workers)
        server.wait_for_port(port)
        return websocket(port, "frames")
    return start


def mosquitto(site, programs):
    port = free_port()
    site.socket("mosquitto")
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    server = site.run(programs, "mosquitto", [program, "-c", site.configuration("mosquitto.conf", PORT=port)])
    server.wait_for_port(port)
    return websocket(port, "mqtt")


def uwebsockets(site, programs):
    port = free_port()
    site.run(programs, "uwebsockets", [VENV / "bin/python", PEERS / "uwebsockets.py", port]).wait_for_text("listening")
    return websocket(port, "frames")


def django_environment(redis_path, layer):
    environment = dict(os.environ)
    environment.update(
        PYTHONPATH=f"{ROOT}/Tests/EndToEnd/tutorial:{PEERS}", PYTHONDONTWRITEBYTECODE="1",
        DJANGO_SETTINGS_MODULE="channels_settings", BENCHMARK_LAYER=layer, BENCHMARK_REDIS=str(redis_path),
    )
    return environment


def daphne(processes):
    def start(site, programs):
        path = redis(site, programs)[-1].removeprefix("unix:")
        environment = django_environment(path, "channels_redis.core.RedisChannelLayer")
        with socket.create_server((HOST, 0), backlog=4096) as listening:
            port = listening.getsockname()[1]
            for number in range(1, processes + 1):
                site.run(programs, f"daphne-{number}", [
                    VENV / "bin/daphne", "--fd", listening.fileno(), "--verbosity", "1", "--access-log", os.devnull,
                    "mysite.asgi:application",
                ], environment, [listening.fileno()]).wait_for_text("Listening on")
        return websocket(port, "chat")
    return start


def uvicorn(processes):
    def start(site, programs):
        path = redis(site, programs)[-1].removeprefix("unix:")
        environment = django_environment(path, "channels_redis.pubsub.RedisPubSubChannelLayer")
        port = free_port()
        server = site.run(programs, "uvicorn", [
            VENV / "bin/uvicorn", "--host", HOST, "--port", port, "--workers", processes, "--lifespan", "off",
            "--no-access-log", "--backlog", "4096", "mysite.asgi:application",
        ], environment)
        started = "Started server process"
        server.wait_until(lambda: server.log.read_text(errors="replace").count(started) == processes)
        server.wait_for_port(port)
        return websocket(port, "chat")
    return start


def installed():
    """Which peers this machine has."""
    here = set()
    if shutil.which("redis-server"):
        here.add("redis")
    if (NGINX_MODULES / "ngx_nchan_module.so").exists():
        here.add("nchan")
    if shutil.which("mosquitto") or pathlib.Path("/usr/sbin/mosquitto").exists():
        here.add("mosquitto")
    if any(VENV.glob("lib/python*/site-packages/socketify")) and ctypes.util.find_library("uv"):
        here.add("uwebsockets")
    for name in ("daphne", "uvicorn"):
        if (VENV / "bin" / name).exists() and any(VENV.glob("lib/python*/site-packages/channels_redis")):
            here.add(name)
    return here


LIMIT = System("limit", "bare C loop (the limit)", limit())
MERGING_LIMIT = System("limit-merge", "merging C loop", limit("--merge"))
FANFARE_1 = System("fanfare-1", "Fanfare, 1 worker", fanfare(1))
FANFARE_2 = System("fanfare-2", "Fanfare, 2 workers", fanfare(2))
UWEBSOCKETS = System("uwebsockets", "uWebSockets (no broker)", uwebsockets, "uwebsockets")
NCHAN_1 = System("nchan-1", "nginx + Nchan, 1 worker", nchan(1), "nchan")
NCHAN_2 = System("nchan-2", "nginx + Nchan, 2 workers", nchan(2), "nchan")
MOSQUITTO = System("mosquitto", "Mosquitto over WebSocket", mosquitto, "mosquitto")
FAST_SYSTEMS = [LIMIT, MERGING_LIMIT, FANFARE_1, FANFARE_2, UWEBSOCKETS, NCHAN_1, NCHAN_2, MOSQUITTO]
# Those whose sockets are Python's do not carry the loads of a fixed rate, nor 20 000 sockets.
WEBSOCKET_SYSTEMS = [
    *FAST_SYSTEMS,
    System("daphne-1", "Daphne + channels_redis, 1 process", daphne(1), "daphne"),
    System("daphne-2", "Daphne + channels_redis, 2 processes", daphne(2), "daphne"),
    System("uvicorn-1", "uvicorn + channels_redis pub/sub, 1 process", uvicorn(1), "uvicorn"),
    System("uvicorn-2", "uvicorn + channels_redis pub/sub, 2 processes", uvicorn(2), "uvicorn"),
]
BROKER = System("broker", "Fanfare", broker)
REDIS = System("redis", "Redis", redis, "redis")
LIMIT_LINKS = System("limit-links", "merging C loop", limit_links)
STARTED_SYSTEMS = [
    System("start-broker", "Fanfare's broker", broker_to_start),
    System("start-worker", "Fanfare's worker", worker_to_start),
]
BROKER_SYSTEMS = [LIMIT_LINKS, BROKER, REDIS]
