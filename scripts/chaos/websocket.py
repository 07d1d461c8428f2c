"""A small WebSocket client without a policy of its own: it reads when told, answers pings, says how it ended."""
import asyncio

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
ABNORMAL = 1006


class Refused(Exception):
    """The handshake was answered with another status than 101, or with none."""


class WebSocket(asyncio.Protocol):
    """`on_text(bytes)` for each text, `on_end(code)` once: the close code, 1006 where the connection just ended."""

    def __init__(self, path, on_text, on_end):
        self.path, self.on_text, self.on_end = path, on_text, on_end
        self.opened = asyncio.get_running_loop().create_future()
        self.buffer, self.is_open, self.code, self.transport = bytearray(), False, ABNORMAL, None

    @classmethod
    async def open(cls, port, path, on_text, on_end, seconds=60):
        """`port` is one of this machine, or the path of a Unix socket."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                connect = loop.create_connection if isinstance(port, int) else loop.create_unix_connection
                address = ("127.0.0.1", port) if isinstance(port, int) else (str(port),)
                _, socket = await connect(lambda: cls(path, on_text, on_end), *address)
                try:
                    await socket.opened
                except asyncio.CancelledError:
                    socket.abort()
                    raise
        except (OSError, TimeoutError) as failure:
            raise Refused(f"{failure or 'no answer'}") from None
        return socket

    def connection_made(self, transport):
        self.transport = transport
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data):
        buffer = self.buffer
        buffer += data
        if not self.is_open and not self._read_head():
            return
        position, end = 0, len(buffer)
        while end - position >= 2:
            length, start = buffer[position + 1], position + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(buffer[position + 2:start], "big")
            if end < start + length or end < start:
                break
            self._frame(buffer[position] & 15, bytes(buffer[start:start + length]))
            position = start + length
        del buffer[:position]

    def _read_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = self.buffer[9:12].decode(errors="replace")
        del self.buffer[:end + 4]
        if status == "101":
            self.is_open = True
            if not self.opened.done():
                self.opened.set_result(None)
            return True
        if not self.opened.done():
            self.opened.set_exception(Refused(f"status {status}"))
        self.transport.abort()
        return False

    def _frame(self, operation, payload):
        if operation == TEXT:
            self.on_text(payload)
        elif operation == PING:
            self.write(PONG, payload)
        elif operation == CLOSE:
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.write(CLOSE, payload[:2])
            self.transport.close()

    def write(self, operation, payload):
        length = len(payload)
        head = bytes([0x80 | operation, 0x80 | length]) if length < 126 else (
            bytes([0x80 | operation, 0x80 | 126]) + length.to_bytes(2, "big"))
        # A mask of zeros is a mask.
        self.transport.write(head + bytes(4) + payload)

    def send(self, text):
        self.write(TEXT, text)

    def close(self, code=1000):
        if not self.transport.is_closing():
            self.write(CLOSE, code.to_bytes(2, "big"))

    def abort(self):
        self.transport.abort()

    def connection_lost(self, failure):
        if not self.opened.done():
            self.opened.set_exception(Refused(f"closed in the handshake ({failure or 'end of stream'})"))
        elif self.is_open:
            self.is_open = False
            self.on_end(self.code)
