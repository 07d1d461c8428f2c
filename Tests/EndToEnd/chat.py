"""WebSocket clients of the chat."""
import asyncio
import json

from websockets.asyncio.client import connect

SECONDS = 60


class Visitor:
    """One socket in one room, and who serves it."""

    def __init__(self, socket, hello):
        self.socket = socket
        self.worker, self.pid, self.channel = hello["worker"], hello["pid"], hello["channel"]
        # What it was told of messages that did not come.
        self.missed = []

    @classmethod
    async def enter(cls, port, room):
        url = f"ws://127.0.0.1:{port}/ws/chat/{room}/?hello=1"
        # No queue bound, pings or compression of our own: only the worker's behaviour is under test.
        socket = await connect(
            url, max_queue=None, ping_interval=None, compression=None, proxy=None, open_timeout=SECONDS, close_timeout=SECONDS
        )
        hello = json.loads(await asyncio.wait_for(socket.recv(), SECONDS))
        assert hello["type"] == "hello" and hello["room"] == room, hello
        return cls(socket, hello)

    async def say(self, text):
        await self.socket.send(json.dumps({"message": text}))

    async def hear(self, seconds=SECONDS):
        while (frame := json.loads(await asyncio.wait_for(self.socket.recv(), seconds))).get("type") == "missed":
            self.missed.append(frame)
        assert list(frame) == ["message"], frame
        return frame["message"]

    async def hear_until(self, text):
        """Everything heard before `text`."""
        before = []
        while (heard := await self.hear()) != text:
            before.append(heard)
        return before

    async def close(self):
        await self.socket.close()

    async def is_open(self):
        try:
            await asyncio.wait_for(await self.socket.ping(), SECONDS)
            return True
        except Exception:
            return False


async def enter_apart(port, room):
    """Two visitors of one room on different workers. The kernel spreads connections over the listeners, so try again."""
    first = await Visitor.enter(port, room)
    for _ in range(200):
        second = await Visitor.enter(port, room)
        if second.pid != first.pid:
            return first, second
        await second.close()
    raise AssertionError("200 connections in a row landed on the same worker")


async def leave(*visitors):
    await asyncio.gather(*(visitor.close() for visitor in visitors))
