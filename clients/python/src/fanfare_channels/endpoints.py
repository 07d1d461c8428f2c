"""Where brokers are: what users may write for one, and where one is looked for when they write nothing."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .security import Security, reason

DEFAULT_PORT = 7411
DIAL_SECONDS = 3.0


class Endpoint(NamedTuple):
    """A Unix socket's path, or a host and port, with TLS or without."""

    path: Optional[str]
    host: str = ""
    port: int = 0
    is_tls: bool = False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.is_tls else 'tcp'}://{host}:{self.port}"

    @property
    def keeps_secrets(self) -> bool:
        """Whether nobody on the way can read what is sent there. What a name means is decided elsewhere."""
        if self.path is not None or self.is_tls or self.host in ("localhost", "::1"):
            return True
        quads = self.host.split(".")
        return len(quads) == 4 and quads[0] == "127" and all(quad.isdigit() and int(quad) < 256 for quad in quads)

    def credentials(self, security: Security) -> Optional[str]:
        """The token to show there, if there is one. Raises `OSError` rather than let it be read on the way."""
        token = security.read_token()
        if token is not None and not self.keeps_secrets and not security.token_in_the_clear:
            raise OSError(
                f"the token is not sent over plain TCP to another machine: write {self._replace(is_tls=True)}, "
                "use a Unix socket, or set token_in_the_clear"
            )
        return token

    def dial(self, security: Security) -> socket.socket:
        """A connected socket, blocking, with a timeout, its TLS handshake over. Raises `OSError`."""
        if self.path is None:
            context = security.context() if self.is_tls else None
            connection = socket.create_connection((self.host, self.port), timeout=DIAL_SECONDS)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if context is not None:
                    return context.wrap_socket(connection, server_hostname=security.server_name or self.host)
            except ssl.SSLError as error:
                connection.close()
                raise OSError(reason(error)) from error
            except socket.timeout:
                connection.close()
                raise OSError(f"no answer to the TLS handshake within {DIAL_SECONDS:g} s; does it speak TLS?") from None
            except (OSError, ValueError) as error:
                connection.close()
                raise error if isinstance(error, OSError) else OSError(str(error))
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

    A host is a text (`unix:/path`, `tcp://host:port`, `tls://host:port`), a path object, a pair of host and port, or a dict with
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
    if scheme in ("tcp", "tls") and rest.startswith("//"):
        host, port = _split(rest[2:].rstrip("/"), text)
        return Endpoint(None, host, port, scheme == "tls")
    if scheme in ("redis", "rediss"):
        raise ValueError(f"{text!r} is a Redis server; a Fanfare broker is at unix:/path or tcp://host:port")
    raise ValueError(f"{text!r} is no broker: write unix:/path, tcp://host:port or tls://host:port")


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
