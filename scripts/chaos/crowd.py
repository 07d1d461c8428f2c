"""People in rooms: sockets that come back when they were closed, publishers among them, and steady traffic."""
import asyncio
import collections
import json
import time

from chaos import websocket
from chaos.publisher import LinkPublisher

OPENING = 256           # Handshakes under way.
UNHEARD = 200           # Messages of one publisher it has not heard itself.
TICK_SECONDS = 0.01
SETTLE_SECONDS = 60


class Member:
    """One person: at most one connection at a time."""

    def __init__(self, crowd, room, publishes):
        self.crowd, self.room = crowd, room
        self.publisher = crowd.ledger.publisher(room) if publishes else None
        self.socket = self.seat = None
        self.stays, self.last_sent_at = True, 0.0

    @property
    def is_here(self):
        return self.seat is not None

    async def enter(self):
        """Tries until it is in, at any of the crowd's ports."""
        wait = 0.05
        while self.stays:
            port = self.crowd.random.choice(list(self.crowd.ports))
            try:
                async with self.crowd.opening:
                    hello = asyncio.get_running_loop().create_future()
                    self.socket = await websocket.WebSocket.open(
                        port, f"/ws/chat/{self.room}/?hello=1",
                        lambda text: self.heard(text, hello), lambda code: self.ended(code, hello),
                    )
                    await hello
                return
            except websocket.Refused as refusal:
                self.crowd.refusals[str(refusal)] += 1
            await asyncio.sleep(wait * (0.5 + self.crowd.random.random() / 2))
            wait = min(1.0, wait * 2)

    def heard(self, text, hello):
        if text.startswith(b'{"message":"'):
            index, number, *_ = text[12:-2].split(b" ", 2)
            # A message before the hello's frame was read counts from here on.
            if self.seat is not None:
                self.crowd.ledger.hear(self.seat, int(index), int(number))
        elif text.startswith(b'{"type":"hello"'):
            self.seat = self.crowd.ledger.seat(self.room, json.loads(text)["worker"])
            if not hello.done():
                hello.set_result(None)
        else:
            self.crowd.notice(self, text)

    def ended(self, code, hello):
        seat, self.seat, self.socket = self.seat, None, None
        if seat is not None:
            self.crowd.ledger.leave(seat, code)
            self.crowd.ended(self, seat, code)
        if self.publisher is not None:
            self.publisher.lose(self.publisher.checked + 1)
        if not hello.done():
            hello.set_exception(websocket.Refused(f"closed with {code} before the hello"))
        elif self.stays:
            self.crowd.spawn(self.enter())

    def publish(self):
        if self.seat is None or self.socket.transport.is_closing():
            return None
        now, unheard = time.monotonic(), self.publisher.count - self.seat.last.get(self.publisher.index, 0)
        if unheard > UNHEARD and now - self.last_sent_at < 1:
            return None
        self.last_sent_at = now
        number = self.publisher.next()
        self.socket.send(b'{"message":"%d %d%s"}' % (self.publisher.index, number, self.crowd.padding))
        return number

    def leave(self):
        self.stays = False
        if self.socket is not None:
            self.socket.close()


class Crowd:
    def __init__(self, ledger, random, ports, broker_socket=None):
        self.ledger, self.random, self.ports, self.broker_socket = ledger, random, ports, broker_socket
        self.padding = b""      # Begins with a space, if it is any.
        self.members, self.links, self.tasks = [], [], set()
        self.opening = asyncio.Semaphore(OPENING)
        self.refusals, self.codes, self.notices = (collections.Counter() for _ in range(3))
        self.traffic = None

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def here(self):
        return [member for member in self.members if member.is_here]

    @property
    def publishers(self):
        return [*(member for member in self.members if member.publisher is not None), *self.links]

    async def enter(self, count, rooms, publishers=1, links=0):
        """`count` members over `rooms`; in each room so many of them publish, and so many sessions of the broker."""
        arrived = [Member(self, f"room-{n % rooms}", publishes=n < rooms * publishers) for n in range(count)]
        self.members += arrived
        await asyncio.gather(*(member.enter() for member in arrived))
        for number in range(rooms * links):
            room = f"room-{number % rooms}"
            self.links.append(LinkPublisher(self.broker_socket, self.ledger.publisher(room), f"chat_{room}"))
        return arrived

    def ended(self, member, seat, code):
        self.codes[code] += 1

    def notice(self, member, text):
        """Anything that is no message: a refusal, or a gap that the member is told."""
        if b"not sent" in text and member.publisher is not None:
            member.publisher.refusals += 1
            self.notices["refused"] += 1
        elif b'"type":"missed"' in text:
            self.notices["told of a gap"] += 1
            if member.seat is not None:
                member.seat.told_at = time.monotonic()
        else:
            self.notices[text[:40].decode(errors="replace")] += 1

    def start(self, rate):
        """`rate` messages a second, all publishers in turn."""
        self.traffic = asyncio.create_task(self._publish(rate))

    async def _publish(self, rate):
        due, turn = time.monotonic(), 0
        while True:
            now = time.monotonic()
            # After a pause of this process it does not catch up.
            due = max(due, now - 0.1)
            while due <= now:
                publishers = self.publishers
                publishers[turn % len(publishers)].publish()
                turn, due = turn + 1, due + 1 / rate
            await asyncio.sleep(TICK_SECONDS)

    async def stop(self):
        if self.traffic is not None:
            self.traffic.cancel()
            await asyncio.gather(self.traffic, return_exceptions=True)
            self.traffic = None

    async def settle(self, seconds=SETTLE_SECONDS):
        """Ends the traffic and waits until everybody is back and heard a last message of every publisher."""
        await self.stop()
        deadline = time.monotonic() + seconds
        absent = []
        while time.monotonic() < deadline:
            if not (absent := self.absent()):
                last = {each.publisher: each.publish() for each in self.publishers}
                if None not in last.values() and await self._all_heard(last, min(10.0, seconds)):
                    return
            await asyncio.sleep(0.1)
        self.ledger.violate(
            f"not within {seconds} s: everybody is back and hears; absent {len(absent)}, refusals {dict(self.refusals)}"
        )

    def absent(self):
        away = [each for each in self.members if not each.is_here]
        return away + [each for each in self.links if not each.is_connected]

    async def _all_heard(self, last, seconds):
        by_room = collections.defaultdict(list)
        for publisher, number in last.items():
            by_room[publisher.room].append((publisher.index, number))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(
                member.is_here and member.seat.last.get(index, 0) >= number
                for member in self.members for index, number in by_room[member.room]
            ):
                return True
            await asyncio.sleep(0.05)
        return False

    async def leave(self, seconds=SETTLE_SECONDS):
        """Everybody goes."""
        await self.stop()
        for link in self.links:
            await link.stop()
        for member in self.members:
            member.leave()
        deadline = time.monotonic() + seconds
        while (self.here or self.tasks) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for task in list(self.tasks):
            task.cancel()
        self.members, self.links = [], []
