"""The thread that keeps a hub alive: it connects, answers the broker while no loop does, and keeps the times."""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from . import protocol, requests
from .clock import Backoff
from .endpoints import DIAL_SECONDS
from .ports import Link
from .protocol import FrameReader
from .security import reason

if TYPE_CHECKING:
    from .hub import HubBase

WATCH_SECONDS = 0.5
"""How often it looks whether the loop that watches the link still does."""
LEAD_SECONDS = 0.2
"""How long it leaves the link to threads and other loops that have just read it."""
PERSONAL = (7, 8)
"""The errors `unauthorized` and `forbidden`."""


class Refused(Exception):
    """The broker refused the hello. `is_personal`: for who this process is, which another attempt does not change."""

    def __init__(self, text: str, is_personal: bool = False) -> None:
        super().__init__(text)
        self.is_personal = is_personal


def _strange(error: Exception) -> str:
    """What to say of something that was reached, but did not answer the hello with a welcome."""
    if isinstance(error, socket.timeout):
        return f"no answer to a hello within {DIAL_SECONDS:g} s; is it a Fanfare broker that listens there?"
    if isinstance(error, ssl.SSLError):
        return reason(error)
    if isinstance(error, protocol.ProtocolError):
        return f"what listens there is no Fanfare broker: {error}"
    return str(error)


class Keeper:
    """Sleeps until it is needed: as long as a loop watches the link, it only looks twice a second whether that is so.

    When that loop was closed (`async_to_sync`), does not run, or is busy for long, the keeper reads the link: pings
    are answered, memberships stay, and tasks of other loops get their answers.
    """

    def __init__(self, hub: HubBase) -> None:
        self._hub = hub
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._is_stopping = False
        self._reads_seen = -1
        self._ping_at = 0.0
        # The endpoint to begin with, and what was said last of all of them.
        self._first = 0
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="fanfare-channels", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Lets it look again. May be called from anywhere, also by the garbage collector."""
        try:
            os.write(self._wake_out, b"\0")
        except OSError:
            pass

    def stop(self) -> None:
        """Ends it and, if the hub has not been closed yet, the hub. Takes no lock."""
        self._is_stopping = True
        self.wake()

    def abandon(self) -> None:
        """In the child of a fork, where there is no such thread."""
        for descriptor in (self._wake_in, self._wake_out):
            # The parent's thread has closed them if it was stopped before the fork.
            if descriptor >= 0:
                os.close(descriptor)

    # MARK: The thread

    def _run(self) -> None:
        self._backoff = Backoff(self._hub.configuration.backoff_seconds)
        is_first = True
        try:
            while not self._is_stopping:
                link = self._hub.link
                if link is not None:
                    self._keep(link)
                    if link.is_good:
                        self._backoff = Backoff(self._hub.configuration.backoff_seconds)
                    continue
                if not is_first:
                    self._sleep(self._backoff.next())
                    if self._is_stopping:
                        break
                is_first = False
                self._connect()
                self._hub.give_up_session()
            self._hub.close()
        finally:
            # Whoever still holds this object may try to wake it: an error there is caught.
            wake_in, wake_out = self._wake_in, self._wake_out
            self._wake_in = self._wake_out = -1
            os.close(wake_in)
            os.close(wake_out)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_stopping:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wait(None, 0, left)

    def _connect(self) -> None:
        """Tries the brokers in order, beginning with the one that answered last."""
        configuration = self._hub.configuration
        failures = []
        is_personal = False
        count = len(configuration.endpoints)
        for index in range(self._first, self._first + count):
            endpoint = configuration.endpoints[index % count]
            try:
                token = endpoint.credentials(configuration.security)
                connection = endpoint.dial(configuration.security)
            # A host that can be no name, such as one with a label over 63 characters, is a `UnicodeError`.
            except (OSError, ValueError) as error:
                failures.append(f"{endpoint}: {error}")
                continue
            try:
                reader = FrameReader(protocol.WELCOME_FRAME_BYTES)
                welcome = self._greet(connection, reader, token)
            except (OSError, ValueError, Refused, protocol.ProtocolError) as error:
                connection.close()
                is_personal |= isinstance(error, Refused) and error.is_personal
                failures.append(f"{endpoint}: {_strange(error)}")
                continue
            self._first, self._said = index % count, ""
            self._begin(Link(connection, reader), welcome)
            return
        if is_personal:
            self._backoff.longest()
        self._fail("; ".join(failures), logging.WARNING if is_personal else logging.INFO)

    def _fail(self, text: str, level: int) -> None:
        if text != self._said:
            self._said = text
            self._hub.journal.log(level, "no broker: %s", text)
        self._hub.attempt_failed(text)

    def _begin(self, link: Link, welcome: Dict[str, Any]) -> None:
        self._hub.connected(link, welcome)
        # What came in one piece with the welcome is inside TLS already, where no poll sees it.
        while isinstance(link.socket, ssl.SSLSocket) and not link.is_dead and link.socket.pending():
            self._hub.serve(link, None)

    def _greet(self, connection: socket.socket, reader: FrameReader, token: Optional[str]) -> Dict[str, Any]:
        """Says hello and returns the welcome. Reads nothing behind it: that belongs to the link."""
        hub = self._hub
        deadline = time.monotonic() + DIAL_SECONDS
        try:
            connection.sendall(hub.configuration.hello(hub.node, token, *hub.resumption()))
        except OSError:
            # Why may stand in what the broker wrote before it closed: that it refuses a certificate, for one.
            connection.recv(1)
            raise
        while True:
            data = self._exactly(connection, 4, deadline)
            data += self._exactly(connection, min(int.from_bytes(data, "big"), reader.limit), deadline)
            for fields in reader.feed(data):
                if fields[0] == protocol.WELCOME:
                    welcome: Dict[str, Any] = fields[1]
                    return welcome
                if fields[0] == protocol.ERROR:
                    raise Refused(fields[3], fields[2] in PERSONAL)
            if reader.failure is not None:
                raise reader.failure

    def _exactly(self, connection: socket.socket, count: int, deadline: float) -> bytes:
        """So many bytes, all of them by `deadline`: what comes byte by byte is given up like what is silent."""
        pieces: List[bytes] = []
        while count > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout("timed out")
            connection.settimeout(left)
            data = connection.recv(count)
            if not data:
                raise Refused("the broker closed the connection instead of a welcome")
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)

    def _keep(self, link: Link) -> None:
        """Watches over a link until something has happened."""
        hub = self._hub
        now = time.monotonic()
        holder = hub.holder
        if holder is not None and holder.loop.is_closed():
            hub.holder = holder = None
        is_served = (holder is not None and holder.is_able) or now - hub.served < LEAD_SECONDS
        events = 0 if is_served else select.POLLIN
        if link.unsent:
            events |= select.POLLOUT
        happened = self._wait(link, events, self._timeout(is_served, now))
        if self._is_stopping:
            return
        if happened & select.POLLOUT:
            hub.transmit_unsent(link)
        if happened & ~select.POLLOUT:
            hub.serve(link, None)
        elif is_served:
            self._check_is_read(link)
        now = time.monotonic()
        hub.keep_time(now)
        if hub.leave_at is not None and now >= hub.leave_at:
            hub.leave_for_good()
        self._check_silence(link)

    def _timeout(self, is_served: bool, now: float) -> float:
        timeout = self._ping_after()
        if is_served:
            timeout = WATCH_SECONDS if now - self._hub.served >= LEAD_SECONDS else LEAD_SECONDS
        if any(port.outbox for port in list(self._hub.ports.values())):
            # A loop that does not run may be closed before it takes it.
            timeout = min(timeout, WATCH_SECONDS)
        for due in (self._hub.next_expiry, self._hub.rejoin_at, self._hub.report_due, self._hub.leave_at):
            if due is not None:
                # A loop that is served carries out reports itself; here they are looked after a little later.
                timeout = min(timeout, max(due - now, 0.001) + (0.05 if is_served else 0.0))
        return timeout

    def _wait(self, link: Optional[Link], events: int, timeout: float) -> int:
        """What has happened to the link within that time; 0 when nothing has, or when it was woken."""
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        descriptor = -1
        if link is not None and events:
            try:
                descriptor = link.socket.fileno()
                poll.register(descriptor, events)
            except (OSError, ValueError):
                return 0
        found: List[Tuple[int, int]] = poll.poll(max(timeout, 0) * 1000)
        happened = 0
        for ready, what in found:
            if ready == self._wake_in:
                try:
                    os.read(self._wake_in, 4_096)
                except OSError:
                    pass
            elif ready == descriptor:
                happened = what
        return happened

    def _check_is_read(self, link: Link) -> None:
        """Reads the link when something waits in it and nobody has read since this was last looked at."""
        hub = self._hub
        if not self._wait(link, select.POLLIN, 0):
            self._reads_seen = -1
        elif hub.reads == self._reads_seen:
            while not link.is_dead and self._wait(link, select.POLLIN, 0):
                hub.serve(link, None)
        else:
            self._reads_seen = hub.reads

    # MARK: Silence

    def _ping_after(self) -> float:
        limits = self._hub.welcome.get("limits", {})
        return float(limits.get("ping_after_milliseconds", 15_000)) / 1000 + 1

    def _check_silence(self, link: Link) -> None:
        """Asks a broker that has said nothing for long, and gives up one that does not answer."""
        hub = self._hub
        now = time.monotonic()
        quiet = now - hub.heard
        limits = hub.welcome.get("limits", {})
        if quiet > float(limits.get("silence_milliseconds", 45_000)) / 1000:
            with hub.lock:
                hub.broken(link, f"the broker has been silent for {quiet:.0f} s")
        elif quiet > self._ping_after() and now >= self._ping_at:
            self._ping_at = now + self._ping_after()
            with hub.lock:
                hub.last_id += 1
                hub.write(requests.ping(hub.last_id), None, False)
