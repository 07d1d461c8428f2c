"""A session of the broker that sends to groups and asks for the outcome, so that the fate of each message is known."""
import asyncio

import msgpack

import wire
from chaos import ledger

UNANSWERED = 200        # How many may be under way.
GOAWAY = 100


class LinkPublisher:
    """Publishes to one room; connects again for as long as it runs."""

    def __init__(self, path, publisher, group):
        self.path, self.publisher, self.group = path, publisher, group
        self.writer, self.waiting = None, 0
        self.outcomes = {"members": 0, "accepted": 0, "dropped": 0, "partial": 0}
        self.links = 0
        self.task = asyncio.create_task(self.run())

    @property
    def is_connected(self):
        return self.writer is not None

    async def run(self):
        while True:
            try:
                await self.session()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self.end()
            await asyncio.sleep(0.05)

    async def session(self):
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            writer.write(wire.hello(name=f"publisher-{self.publisher.index}", role="publish"))
            first = await read(reader)
            if first[0] != wire.WELCOME:
                raise OSError(f"not welcome: {first}")
            self.writer, self.links = writer, self.links + 1
            while True:
                self.answered(await read(reader))
        finally:
            writer.close()

    def end(self):
        self.writer, self.waiting = None, 0
        self.publisher.lose(1 + self.publisher.checked)

    def answered(self, frame):
        operation = frame[0]
        if operation == wire.PING:
            self.writer.write(wire.frame(wire.PONG, frame[1]))
        elif operation == wire.RESULT:
            self.waiting -= 1
            self.publisher.settle(frame[1], ledger.ACCEPTED)
            for name in self.outcomes:
                self.outcomes[name] += int(frame[2].get(name, 0))
        elif operation == wire.ERROR and frame[1] is not None:
            self.waiting -= 1
            self.publisher.settle(frame[1], ledger.REFUSED)

    def publish(self):
        """The number of the message, or None when nothing was sent."""
        if self.writer is None or self.waiting >= UNANSWERED or self.writer.is_closing():
            return None
        number = self.publisher.next()
        body = msgpack.packb({"type": "chat.message", "message": f"{self.publisher.index} {number}"})
        self.waiting += 1
        self.writer.write(wire.frame(wire.GROUP_SEND, number, self.group, body, {"outcome": True}))
        return number

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read(reader):
    length = int.from_bytes(await reader.readexactly(4), "big")
    return msgpack.unpackb(await reader.readexactly(length))
