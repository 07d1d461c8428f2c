"""The channel layer for Django Channels."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import sys
import threading
import time
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Set, Tuple

from channels.layers import BaseChannelLayer

from . import body as bodies
from . import names
from . import protocol as p
from . import requests, tracing
from .configuration import PATIENCE_SECONDS, Configuration
from .endpoints import endpoints
from .exceptions import BrokerUnavailable, ChannelFull, MessageTooLarge
from .extras import Extras
from .names import Names
from .policy import GROUP_EXPIRY_SECONDS, Capacities, milliseconds, policy
from .receiving import FINISH_SECONDS, Hub
from .security import Security
from .serializers import MsgPackSerializer, registry

Message = Dict[str, Any]
FINISH_LOOK_SECONDS = 0.005
"""How often a layer that closes looks whether what was sent has been written."""

_layers: weakref.WeakSet[FanfareChannelLayer] = weakref.WeakSet()
# Also those whose layer is gone, and whose keeper is about to close them.
_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
_ending: Set[int] = set()
"""The processes, this one and those it was forked from, in which `multiprocessing` knows of the layers."""


class FanfareChannelLayer(Extras, BaseChannelLayer):  # type: ignore[misc]  # Channels has no types.
    """A channel layer over a Fanfare broker, with the extensions `groups` and `flush`.

    One object has one connection in each process, whatever event loops and threads use it; a child of a `fork` gets
    its own, and a `client_prefix` of its own, at its first use. It connects when it is first used, and again by itself.

    Arguments:
        hosts: brokers, tried in order: `"unix:/path"`, `"tcp://host:port"`, `"tls://host:port"`, `(host, port)`, or
            dicts.
        url: one broker. With neither: `$FANFARE_BROKER`, or where a broker listens by default.
        prefix: the namespace at the broker; layers with different ones share nothing.
        expiry: seconds an unread message lives; fractions allowed.
        group_expiry: seconds a membership lives after the last add, literally. Left out, memberships of processes
            that live do not run out; those of channels nobody owns do, after a day.
        capacity: unread messages a channel holds.
        channel_capacity: overrides by glob or compiled pattern; the first match counts.
        capacity_scope: `"channel"`, or `"process"` for one capacity that all channels of a process share.
        overflow: by glob, what happens at a full channel: `"reject"` (the default), `"drop_newest"`, `"drop_oldest"`,
            `"disconnect"`.
        symmetric_encryption_keys: the first encrypts bodies, all decrypt; needs `cryptography`.
        serializer_format: a name in `fanfare_channels.serializers.registry`.
        patience: seconds that calls which may be repeated (`group_add`, `flush`, ...) wait for a broker.
        send_patience: seconds that `send` and `group_send` wait for a broker while there is none, at most 10 000 calls
            with 64 MiB at a time; 0: they fail as soon as an attempt to reach one has failed.
        name: what listings of the broker call this process.
        token, token_file: what to show a broker that asks for it: the token itself, or a file with it, which not
            everybody may read. Without either: `$FANFARE_TOKEN_FILE`, else `$FANFARE_TOKEN`.
        token_in_the_clear: whether the token may go over `tcp://` to another machine.
        ca_file: for `tls://`, the CAs that may sign a broker's certificate, in PEM. Without it: `$FANFARE_CA_FILE`,
            else those the system trusts. Nothing turns the check off.
        certificate_file, key_file: what to show a broker that asks for a certificate, in PEM. Without them:
            `$FANFARE_CERTIFICATE_FILE` and `$FANFARE_KEY_FILE`.
        server_name: the name the broker's certificate must hold, instead of the host that is dialled.
        trace: whether messages carry OpenTelemetry's trace context; see `fanfare_channels.tracing`. Left out: if
            OpenTelemetry is installed.
        random_prefix_length: accepted from settings made for Redis, and not needed here.

    `ValueError` for arguments that cannot be used, with what to write instead.
    """

    extensions = ["groups", "flush"]
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    def __init__(
        self,
        hosts: Optional[Sequence[Any]] = None,
        prefix: str = "default",
        expiry: float = 60,
        group_expiry: Optional[float] = None,
        capacity: int = 100,
        channel_capacity: Optional[Capacities] = None,
        symmetric_encryption_keys: Optional[Sequence[Any]] = None,
        random_prefix_length: int = 0,
        serializer_format: str = "msgpack",
        *,
        url: Optional[str] = None,
        capacity_scope: str = "channel",
        overflow: Optional[Mapping[str, str]] = None,
        patience: float = PATIENCE_SECONDS,
        send_patience: float = 0,
        name: Optional[str] = None,
        token: Optional[str] = None,
        token_file: Any = None,
        token_in_the_clear: bool = False,
        ca_file: Any = None,
        certificate_file: Any = None,
        key_file: Any = None,
        server_name: Optional[str] = None,
        trace: Optional[bool] = None,
    ) -> None:
        if trace and not tracing.is_available:
            raise ValueError("trace=True needs OpenTelemetry: pip install opentelemetry-api")
        if not names.is_normal(prefix):
            raise ValueError(
                f"the prefix {prefix!r} is a namespace here: fewer than 100 ASCII letters, digits, hyphens, "
                "underscores or periods"
            )
        self.expiry = expiry
        self.group_expiry = GROUP_EXPIRY_SECONDS if group_expiry is None else group_expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.prefix = prefix
        self.configuration = Configuration(
            endpoints=endpoints(hosts, url),
            namespace=prefix,
            policy=policy(
                expiry=expiry,
                group_expiry=group_expiry,
                capacity=capacity,
                channel_capacity=channel_capacity,
                capacity_scope=capacity_scope,
                overflow=overflow,
            ),
            name=name,
            security=Security.settled(
                token=token,
                token_file=token_file,
                token_in_the_clear=token_in_the_clear,
                ca_file=ca_file,
                certificate_file=certificate_file,
                key_file=key_file,
                server_name=server_name,
            ),
            patience=patience,
            send_patience=milliseconds(send_patience, "send_patience") / 1000,
        )
        self._serializer = registry.get_serializer(
            serializer_format,
            random_prefix_length=0,
            expiry=expiry,
            symmetric_encryption_keys=symmetric_encryption_keys,
        )
        self._encode, self._decode = self._codec()
        self._is_traced = tracing.is_available and trace is not False
        self._names = Names()
        self._locals = itertools.count(1)
        self._starting = threading.RLock()
        self._hub: Optional[Hub] = None
        self._literal_expiry = None if group_expiry is None else float(group_expiry)
        _layers.add(self)

    # MARK: The session of this process

    def hub(self) -> Hub:
        """The session of this process; after a fork, or after `close`, a new one."""
        hub = self._hub
        if hub is not None and hub.pid == os.getpid() and not hub.stopped:
            return hub
        with self._starting:
            hub = self._hub
            if hub is None or hub.pid != os.getpid() or hub.stopped:
                is_own = hub is not None and hub.pid == os.getpid()
                if hub is not None and is_own and hub.left is not None:
                    # Its calls say why.
                    return hub
                node = hub.node if hub is not None and is_own else names.new_node()
                if hub is not None and not is_own and not hub.stopped:
                    hub.abandon()
                fresh = Hub(self.configuration, node)
                if self._hub is not None and self._hub is not hub:
                    # A finalizer that ran meanwhile was first.
                    return self._hub
                if hub is not None and is_own:
                    # A broker that has not heard the goodbye keeps the node for the session before.
                    fresh.given_up_token = hub.given_up_token
                hub = self._hub = fresh
                _hubs.add(hub)
                _end_with_multiprocessing()
                weakref.finalize(self, _let_go, hub).atexit = False  # type: ignore[misc]  # Its stub knows no setter.
            return hub

    @property
    def client_prefix(self) -> str:
        """The part of this process's channel names that says whose they are."""
        return self.hub().node

    def __str__(self) -> str:
        where = ", ".join(map(str, self.configuration.endpoints))
        return f"{type(self).__name__}({where})"

    # MARK: Messages to bytes

    def serialize(self, message: Message) -> bytes:
        """The body of a message. Override it, and `deserialize`, to write bodies in another way."""
        data: bytes = self._serializer.serialize(message)
        return data

    def deserialize(self, message: bytes) -> Message:
        """The message of a body, a new one each time. What it raises makes the message count as undecodable."""
        value: Message = self._serializer.deserialize(message)
        return value

    def _codec(self) -> Any:
        """What turns messages into bodies and back: the shortest way where nothing was changed."""
        kind = type(self)
        is_plain = type(self._serializer) is MsgPackSerializer and self._serializer.crypter is None
        is_plain = is_plain and kind.serialize is FanfareChannelLayer.serialize
        if is_plain and kind.deserialize is FanfareChannelLayer.deserialize:
            return bodies.encode, bodies.decode
        return self.serialize, self.deserialize

    def _body(self, message: Any, hub: Hub) -> bytes:
        if not isinstance(message, dict):
            raise AssertionError("message is not a dict")
        if "__asgi_channel__" in message:
            raise AssertionError('the key "__asgi_channel__" is reserved')
        data: bytes = self._encode(message)
        if len(data) > hub.body_bytes:
            raise MessageTooLarge(f"the message has {len(data)} bytes; the broker takes {hub.body_bytes}")
        return data

    # MARK: The channel layer

    async def send(self, channel: str, message: Message, *, expiry: Optional[float] = None) -> None:
        """Sends a message to a channel; returns when the broker has accepted it.

        `expiry`: its life in seconds, instead of the layer's. Raises `TypeError` for a name that is none and for a
        value that cannot be sent, `AssertionError` for a message that is no dict, `ChannelFull`, `MessageTooLarge`,
        `BrokerUnavailable`.
        """
        self._names.check_channel(channel)
        if not self._is_traced:
            return await self._send(channel, message, expiry, None)
        with tracing.sending("send", channel) as trace:
            await self._send(channel, message, expiry, trace)

    async def _send(
        self, channel: str, message: Message, expiry: Optional[float], trace: Optional[Dict[str, str]]
    ) -> None:
        # A fork has taken it away from the child.
        hub = self._hub
        if hub is None or hub.stopped:
            hub = self.hub()
        rest = self._send_fields(channel, self._body(message, hub), expiry, trace)
        future = hub.submit(asyncio.get_running_loop(), p.SEND, rest)
        if future is None:
            await hub.call(p.SEND, rest)
            return
        failure = await future
        if failure is not None:
            raise failure

    async def receive(self, channel: str) -> Message:
        """The next message of a channel; waits for hours if it must, across restarts of the broker.

        A channel of a process can be received only there: `AssertionError` for another's.
        """
        self._names.check_channel(channel)
        # A fork has taken it away from the child.
        hub = self._hub
        if hub is None or hub.stopped:
            hub = self.hub()
        decode = self._decode
        if "!" in channel:
            # Mailboxes are of channels of this process only.
            if channel not in hub.mailboxes:
                self._check_own(channel, hub)
            # `hub.take`, spelled out: this is what most of a busy process's time goes to.
            loop = asyncio.get_running_loop()
            while True:
                item, future = hub.look(channel, loop)
                if future is not None:
                    try:
                        result = await future
                    except asyncio.CancelledError:
                        hub.leave_line(channel, loop, future)
                        raise
                    item = hub.found(channel, result)
                    if item is None:
                        continue
                try:
                    message: Message = decode(item[1])  # type: ignore[index]
                    return message if item[4] is None else self._traced(message, item[4], channel)  # type: ignore[index]
                except Exception as error:
                    self._undecodable(hub, channel, error)
        while True:
            hand_out = await hub.take_shared(channel)
            try:
                message = decode(hand_out.body)
                return message if hand_out.trace is None else self._traced(message, hand_out.trace, channel)
            except Exception as error:
                self._undecodable(hub, channel, error)

    def _traced(self, message: Message, headers: Dict[str, str], source: str) -> Message:
        """A message with the trace it came with."""
        return tracing.Traced(message, headers, source) if self._is_traced else message

    def _sending(self, operation: str, destination: str) -> AbstractContextManager[Optional[Dict[str, str]]]:
        """Around one send or many: yields the trace context that goes with the messages."""
        return tracing.sending(operation, destination) if self._is_traced else nullcontext()

    def _undecodable(self, hub: Hub, channel: str, error: Exception) -> None:
        hub.count_undecodable(channel)
        hub.configuration.logger.info("a message on %s could not be decoded and was dropped: %s", channel, error)

    def _check_own(self, channel: str, hub: Hub) -> None:
        if not self._is_own(channel, hub):
            raise AssertionError(f"{channel!r} belongs to another process: the client prefix here is {hub.node}")

    def _is_own(self, channel: str, hub: Hub) -> bool:
        place = channel.find("!")
        start = place - len(hub.node)
        return start >= 0 and channel.startswith(hub.node, start) and (start == 0 or channel[start - 1] == ".")

    async def new_channel(self, prefix: str = "specific") -> str:
        """A channel of this process that nobody has had before. Takes no round trip."""
        return self.new_channel_name(prefix)

    def new_channel_name(self, prefix: str = "specific") -> str:
        """`new_channel` for who is not in a coroutine."""
        channel = f"{prefix}.{self.client_prefix}!{next(self._locals)}"
        if not names.is_process(channel):
            raise TypeError(f"{prefix!r} is no prefix of a channel name")
        return channel

    # MARK: Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Adds a channel to a group. No error if it is in already; that refreshes its group expiry."""
        self._names.check_group(group)
        self._names.check_channel(channel)
        hub = self.hub()
        await hub.call(p.GROUP_ADD, (group, [channel]), self._joining(hub, channel, group), again=True)

    async def group_discard(self, group: str, channel: str) -> None:
        """Takes a channel out of a group; nothing happens if it is not in."""
        self._names.check_group(group)
        self._names.check_channel(channel)
        hub = self.hub()
        is_own = self._is_own(channel, hub)
        while not (is_own and self._leave_without_link(hub, channel, group)):
            try:
                leaving = self._leaving(hub, channel, group)
                await hub.call(p.GROUP_DISCARD, (group, [channel]), leaving, again=not is_own)
                return
            except BrokerUnavailable:
                if not is_own:
                    raise

    def _joining(self, hub: Hub, channel: str, group: str) -> Optional[Callable[[], None]]:
        """What the answer to a `GROUP_ADD` means here: nothing for channels of other processes."""
        if "!" not in channel:
            return lambda: self._joined_shared(hub, channel, group)
        if not self._is_own(channel, hub):
            return None
        literal = self._literal_expiry
        return lambda: hub.join(channel, group, None if literal is None else time.monotonic() + literal)

    def _joined_shared(self, hub: Hub, channel: str, group: str) -> None:
        life = hub.welcome["policy"].get("group_expiry_milliseconds", self.group_expiry * 1000) / 1000
        hub.remember_shared(channel, group, time.monotonic() + life)

    def _leaving(self, hub: Hub, channel: str, group: str) -> Callable[[], None]:
        return lambda: hub.leave(channel, group)

    def _leave_without_link(self, hub: Hub, channel: str, group: str) -> bool:
        """Without a link: leaves the group that is remembered here, and tells the broker if the session goes on."""
        hub.check_outside()
        with hub.lock:
            if hub.link is not None:
                return False
            hub.leave(channel, group)
            hub.post(requests.group_discard(None, group, [channel]))
            return True

    async def group_send(
        self,
        group: str,
        message: Message,
        *,
        exclude: Sequence[str] = (),
        expiry: Optional[float] = None,
        outcome: bool = False,
    ) -> Optional[Dict[str, Any]]:
        """Sends a message to every member of a group; those that are full are skipped and counted.

        `exclude`: members that do not get it, at most 256. `expiry`: its life in seconds. `outcome`: returns what
        became of it, `{"members", "accepted", "dropped"}`, with `"partial": True` if somebody did not say in time.
        """
        self._names.check_group(group)
        with self._sending("group_send", group) as trace:
            hub = self.hub()
            body = self._body(message, hub)
            rest = self._group_send_fields(group, body, exclude, expiry, outcome, trace)
            return await self._group_send(hub, rest)

    async def _group_send(self, hub: Hub, rest: Tuple[Any, ...]) -> Optional[Dict[str, Any]]:
        future = hub.submit(asyncio.get_running_loop(), p.GROUP_SEND, rest)
        if future is None:
            answer: Optional[Dict[str, Any]] = await hub.call(p.GROUP_SEND, rest)
            return answer
        result = await future
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]

    # MARK: Flush and the end

    async def flush(self) -> None:
        """Everything in the namespace is gone, for everybody, when this returns: messages and memberships."""
        await self.hub().call(p.FLUSH, (), again=True)

    async def close_pools(self) -> None:
        """Nothing to do: there are no pools, and the connection is good for every loop. Reports what was read."""
        hub = self._hub
        if hub is not None and hub.pid == os.getpid():
            hub.check_outside()
            hub.report_now()

    async def close(self) -> None:
        """Ends the session of this process, with its channels and memberships. The next use begins a new one."""
        hub = self._hub
        deadline = time.monotonic() + FINISH_SECONDS
        while hub is not None and hub.has_unsent and time.monotonic() < deadline:
            # The keeper writes it, and the loop goes on.
            await asyncio.sleep(FINISH_LOOK_SECONDS)
        self._close(0)

    def close_sync(self) -> None:
        """`close`, from anywhere. Blocks for up to two seconds while the broker has not taken what was sent."""
        self._close(FINISH_SECONDS)

    def _close(self, within: float) -> None:
        hub = self._hub
        if hub is not None and hub.pid == os.getpid():
            hub.close(within)


def _let_go(hub: Hub) -> None:
    """The layer is gone. May run anywhere, also under the hub's lock: takes none."""
    keeper = hub.keeper
    if keeper is not None and hub.pid == os.getpid():
        keeper.stop()


def _after_fork() -> None:
    """Runs in the child: what the parent's layers have stays the parent's."""
    for layer in list(_layers):
        layer._starting = threading.RLock()
        hub, layer._hub = layer._hub, None
        if hub is not None:
            hub.abandon()


def _at_exit() -> None:
    """What was sent without waiting leaves before the process does."""
    deadline = time.monotonic() + FINISH_SECONDS
    for hub in list(_hubs):
        if hub.pid == os.getpid() and not hub.stopped:
            hub.finish(deadline)


def _end_with_multiprocessing() -> None:
    """A child of `multiprocessing` runs its own finalizers at its end, and nothing of `atexit`.

    Called for each session: those of the parent do not count in a child.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _ending:
        _ending.add(os.getpid())
        util.Finalize(None, _at_exit, exitpriority=0)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
