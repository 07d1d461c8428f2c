"""Where brokers are: what users may write for one, and where one is looked for when they write nothing."""

from __future__ import annotations

import os
import socket
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

DEFAULT_PORT = 7411
DIAL_SECONDS = 3.0


class Endpoint(NamedTuple):
    """A Unix socket's path, or a host and port."""

    path: Optional[str]
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    def dial(self) -> socket.socket:
        """A connected socket, blocking, with a timeout. Raises `OSError`."""
        if self.path is None:
            connection = socket.create_connection((self.host, self.port), timeout=DIAL_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(DIAL_SECONDS)
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection


def endpoints(hosts: Optional[Sequence[Any]], url: Any) -> List[Endpoint]:
    """The brokers to try, in order: `url`, or `hosts`, or `$FANFARE_BROKER`, or the place a broker listens by default.

    A host is a text (`unix:/path`, `tcp://host:port`), a path object, a pair of host and port, or a dict with
    `address`, or `host` and `port`, or `path`. Raises `ValueError`, which shows what is meant.
    """
    if url is not None:
        if hosts is not None:
            raise ValueError("give url or hosts, not both")
        return [_entry(url)]
    if hosts is not None:
        if isinstance(hosts, (str, bytes)):
            raise ValueError("hosts is a list, even if there is only one; url takes a single text")
        if not hosts:
            raise ValueError("hosts is empty")
        return [_entry(host) for host in hosts]
    named = os.environ.get("FANFARE_BROKER")
    if not named:
        return [Endpoint(default_path())]
    try:
        return [_parse(named)]
    except ValueError as error:
        raise ValueError(f"$FANFARE_BROKER: {error}") from None


def default_path() -> str:
    """Where a broker listens that was not told anything."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "fanfare", "broker.sock")
    if os.geteuid() == 0:
        return "/run/fanfare/broker.sock"
    return f"/tmp/fanfare-{os.geteuid()}/broker.sock"


def _entry(host: Any) -> Endpoint:
    if isinstance(host, str):
        return _parse(host)
    if isinstance(host, os.PathLike):
        return Endpoint(os.fspath(host))
    if isinstance(host, Mapping):
        if "address" in host:
            return _entry(host["address"])
        if "path" in host:
            return Endpoint(str(host["path"]))
        if "host" in host:
            return Endpoint(None, str(host["host"]), _port(host.get("port", DEFAULT_PORT), host))
    elif isinstance(host, (tuple, list)) and len(host) == 2:
        return Endpoint(None, str(host[0]), _port(host[1], host))
    if isinstance(host, Mapping) and "sentinels" in host:
        raise ValueError(f"{host!r} is Redis Sentinel; there is one broker here, at unix:/path or tcp://host:port")
    raise ValueError(f"{host!r} is no broker: write unix:/path or tcp://host:port")


def _parse(text: str) -> Endpoint:
    scheme, separator, rest = text.partition(":")
    if scheme == "unix" and rest:
        return Endpoint(rest[2:] if rest.startswith("//") else rest)
    if text.startswith("/"):
        return Endpoint(text)
    if scheme == "tcp" and rest.startswith("//"):
        host, port = _split(rest[2:].rstrip("/"), text)
        return Endpoint(None, host, port)
    if scheme in ("redis", "rediss"):
        raise ValueError(f"{text!r} is a Redis server; a Fanfare broker is at unix:/path or tcp://host:port")
    if scheme == "tls":
        raise ValueError(f"{text!r}: this version speaks no TLS; use a Unix socket, or TCP inside a network you trust")
    raise ValueError(f"{text!r} is no broker: write unix:/path or tcp://host:port")


def _split(address: str, text: str) -> Tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or address.endswith("]"):
        host, port = address, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError(f"{text!r} names no host")
    return host, _port(port, text)


def _port(port: Union[int, str], shown: Any) -> int:
    try:
        number = int(port)
    except (TypeError, ValueError):
        number = 0
    if not 0 < number < 65_536:
        raise ValueError(f"{shown!r}: the port is a number from 1 to 65535")
    return number
