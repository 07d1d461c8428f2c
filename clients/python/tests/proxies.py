"""What stands between a layer and its broker in tests: a proxy that cuts links, and a broker that follows a script."""

from __future__ import annotations

import os
import select
import socket
import threading

from fanfare_channels import protocol as p

PATIENCE_SECONDS = 30


class Cutter:
    """Passes bytes between one Unix socket and another, in pieces, until it is told to cut all connections."""

    def __init__(self, path, target):
        self.path, self.target = str(path), str(target)
        self.url = f"unix:{self.path}"
        self.links = 0
        # Bytes that still pass towards the client, and towards the broker, before the next cut; None: all.
        self.allowance = None
        self.is_refusing = False
        self._pairs = {}
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._wake_in, self._wake_out = os.pipe()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        """Ends every connection, whatever is on its way."""
        with self._lock:
            for end in list(self._pairs):
                self._drop(end)

    def cut_after(self, count):
        """Cuts when so many more bytes have passed, in whichever direction: in the middle of a frame, as it may be."""
        with self._lock:
            self.allowance = count

    def _drop(self, end):
        other = self._pairs.pop(end, None)
        if other is not None:
            self._pairs.pop(other, None)
            for side in (end, other):
                side.close()

    def _run(self):
        while not self._is_over:
            with self._lock:
                watched = [self._wake_in, self._listener, *self._pairs]
            try:
                ready, _, _ = select.select(watched, [], [], 0.05)
            except (OSError, ValueError):
                continue
            with self._lock:
                for end in ready:
                    if end is self._listener:
                        self._accept()
                    elif end in self._pairs:
                        self._pass_on(end)

    def _accept(self):
        client, _ = self._listener.accept()
        broker = socket.socket(socket.AF_UNIX)
        try:
            if self.is_refusing:
                raise OSError("refused")
            broker.connect(self.target)
        except OSError:
            client.close()
            broker.close()
            return
        self.links += 1
        self._pairs[client], self._pairs[broker] = broker, client

    def _pass_on(self, end):
        try:
            data = end.recv(16_384)
            is_cut = self.allowance is not None and len(data) >= self.allowance
            if is_cut:
                data = data[: self.allowance]
            elif self.allowance is not None:
                self.allowance -= len(data)
            other = self._pairs[end]
            if data:
                other.sendall(data)
            if is_cut:
                self.allowance = None
            if is_cut or not data:
                self._drop(end)
        except OSError:
            self._drop(end)

    def stop(self):
        self._is_over = True
        os.write(self._wake_out, b"\0")
        self._thread.join(PATIENCE_SECONDS)
        self.cut()
        self._listener.close()
        os.close(self._wake_in)
        os.close(self._wake_out)


LIMITS = {
    "frame_bytes": 2_162_688,
    "body_bytes": 2_097_152,
    "names_per_frame": 4_096,
    "ping_after_milliseconds": 15_000,
    "silence_milliseconds": 45_000,
}


def welcome(**keys):
    """A `WELCOME` with those keys besides what every one has."""
    all_keys = {
        "protocol": 1, "session": 1, "epoch": 1, "broker": "script/1", "capabilities": [], "policy": {"capacity": 100},
        "limits": LIMITS,
    }  # fmt: skip
    return p.frame((p.WELCOME, {**all_keys, **keys}))


class Scripted:
    """Listens, notes the hello of each connection, and has `script(connection, hello)` do the rest, in a thread."""

    def __init__(self, listener, script, wrap=None):
        self.hellos = []
        self.failures = []
        self._script, self._wrap = script, wrap
        self._listener = listener
        self._listener.listen(16)
        self._connections = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.settimeout(PATIENCE_SECONDS)
            if self._wrap is not None:
                connection = self._wrap(connection)
            self._connections.append(connection)
            hello = next_frame(connection)[1]
            self.hellos.append(hello)
            self._script(connection, hello)
        except OSError as error:
            self.failures.append(error)
        finally:
            connection.close()

    def stop(self):
        # Closing alone does not end an accept that waits.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_SECONDS)
        for connection in self._connections:
            connection.close()


def next_frame(connection):
    """The next frame a client wrote; `ConnectionError` at the end."""
    import msgpack

    length = int.from_bytes(_exactly(connection, 4), "big")
    return msgpack.unpackb(_exactly(connection, length), strict_map_key=False)


def _exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the client closed")
        data += piece
    return data
