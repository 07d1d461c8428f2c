"""What this layer offers beyond the specification: calls for threads, for many at once, and for who wants to look."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from . import protocol as p
from . import requests
from .exceptions import NOT_FOUND, BrokerRefused, BrokerUnavailable
from .mailbox import Gap
from .policy import milliseconds

if TYPE_CHECKING:
    from .receiving import Hub

Message = Dict[str, Any]
ROWS_MOST = 1_000
"""Rows of one inspection."""


class Extras:
    """Mixed into the layer. Nothing here needs a running event loop where the name ends in `_sync`."""

    if TYPE_CHECKING:
        _names: Any
        _decode: Any
        _literal_expiry: Optional[float]

        def hub(self) -> Hub: ...
        def _sending(self, operation: str, destination: str) -> AbstractContextManager[Optional[Dict[str, str]]]: ...
        def _traced(self, message: Message, headers: Dict[str, str], source: str) -> Message: ...
        def _body(self, message: Any, hub: Hub) -> bytes: ...
        def _check_own(self, channel: str, hub: Hub) -> None: ...
        def _is_own(self, channel: str, hub: Hub) -> bool: ...
        def _joining(self, hub: Hub, channel: str, group: str) -> Any: ...
        def _leaving(self, hub: Hub, channel: str, group: str) -> Any: ...
        def _leave_without_link(self, hub: Hub, channel: str, group: str) -> bool: ...
        def _undecodable(self, hub: Hub, channel: str, error: Exception) -> None: ...

    # MARK: For threads

    def send_sync(self, channel: str, message: Message, *, expiry: Optional[float] = None, wait: bool = True) -> None:
        """`send` for synchronous code, in one round trip; with `wait=False` in none.

        Without waiting nobody hears that the channel was full: the message is dropped and counted then.
        """
        self._names.check_channel(channel)
        with self._sending("send", channel) as trace:
            hub = self.hub()
            rest = self._send_fields(channel, self._body(message, hub), expiry, trace)
            if wait:
                hub.call_in_thread(p.SEND, rest)
            else:
                hub.send_in_thread(p.SEND, rest)

    def group_send_sync(
        self,
        group: str,
        message: Message,
        *,
        exclude: Sequence[str] = (),
        expiry: Optional[float] = None,
        outcome: bool = False,
        wait: bool = True,
    ) -> Optional[Dict[str, Any]]:
        """`group_send` for synchronous code, in one round trip; with `wait=False` in none."""
        self._names.check_group(group)
        with self._sending("group_send", group) as trace:
            hub = self.hub()
            rest = self._group_send_fields(group, self._body(message, hub), exclude, expiry, outcome, trace)
            if not wait and not outcome:
                hub.send_in_thread(p.GROUP_SEND, rest)
                return None
            answer: Optional[Dict[str, Any]] = hub.call_in_thread(p.GROUP_SEND, rest)
            return answer

    def group_add_sync(self, group: str, channel: str) -> None:
        """`group_add` for synchronous code."""
        self._names.check_group(group)
        self._names.check_channel(channel)
        hub = self.hub()
        hub.call_in_thread(p.GROUP_ADD, (group, [channel]), self._joining(hub, channel, group), again=True)

    def group_discard_sync(self, group: str, channel: str) -> None:
        """`group_discard` for synchronous code."""
        self._names.check_group(group)
        self._names.check_channel(channel)
        hub = self.hub()
        is_own = self._is_own(channel, hub)
        while not (is_own and self._leave_without_link(hub, channel, group)):
            try:
                leaving = self._leaving(hub, channel, group)
                hub.call_in_thread(p.GROUP_DISCARD, (group, [channel]), leaving, again=not is_own)
                return
            except BrokerUnavailable:
                if not is_own:
                    raise

    def flush_sync(self) -> None:
        """`flush` for synchronous code."""
        self.hub().call_in_thread(p.FLUSH, (), again=True)

    # MARK: Many at once

    def _send_fields(
        self, channel: str, body: bytes, expiry: Optional[float], trace: Optional[Dict[str, str]]
    ) -> Tuple[Any, ...]:
        if expiry is None and trace is None:
            return (channel, body)
        return (channel, body, *requests.send_options(_milliseconds(expiry), trace))

    def _group_send_fields(
        self,
        group: str,
        body: bytes,
        exclude: Sequence[str],
        expiry: Optional[float],
        outcome: bool,
        trace: Optional[Dict[str, str]],
    ) -> Tuple[Any, ...]:
        if expiry is None and not exclude and not outcome and trace is None:
            return (group, body)
        for channel in exclude:
            self._names.check_channel(channel)
        return (group, body, *requests.group_send_options(_milliseconds(expiry), exclude, outcome, trace))

    async def send_many(
        self, messages: Iterable[Tuple[str, Message]], *, expiry: Optional[float] = None
    ) -> List[Optional[Exception]]:
        """Sends many messages, each to its channel, in one write.

        Returns for each, in the same order, `None` or what `send` would have raised. All names and messages are
        checked before the first one is sent; what is wrong with one is raised then.
        """
        with self._sending("send", "(many)") as trace:
            hub = self.hub()
            requested: List[Tuple[Any, ...]] = []
            options = requests.send_options(_milliseconds(expiry), trace)
            for channel, message in messages:
                self._names.check_channel(channel)
                requested.append((channel, self._body(message, hub), *options))
            return await self._submit_many(hub, p.SEND, requested)

    async def group_send_many(
        self, groups: Iterable[str], message: Message, *, exclude: Sequence[str] = (), expiry: Optional[float] = None
    ) -> List[Optional[Exception]]:
        """Sends one message to several groups in one write; a channel in two of them gets it twice.

        Returns for each group `None` or what `group_send` would have raised.
        """
        with self._sending("group_send", "(many)") as trace:
            hub = self.hub()
            body = self._body(message, hub)
            requested: List[Tuple[Any, ...]] = []
            for group in groups:
                self._names.check_group(group)
                requested.append(self._group_send_fields(group, body, exclude, expiry, False, trace))
            return await self._submit_many(hub, p.GROUP_SEND, requested)

    async def _submit_many(
        self, hub: Hub, operation: int, requested: List[Tuple[Any, ...]]
    ) -> List[Optional[Exception]]:
        loop = asyncio.get_running_loop()
        futures: List[Any] = []
        for rest in requested:
            future = hub.submit(loop, operation, rest)
            if future is None and not futures:
                await hub.ready(loop, hub.deadline(False))
                future = hub.submit(loop, operation, rest)
            futures.append(future)
        return [hub.unavailable() if future is None else await future for future in futures]

    # MARK: Holes

    async def receive_or_gap(self, channel: str) -> Union[Message, Gap]:
        """`receive` for a channel of this process that also tells of holes, at the place of what is missing.

        From the first such call on holes in this channel are remembered until they are told.
        """
        self._names.check_channel(channel)
        hub = self.hub()
        self._check_own(channel, hub)
        while True:
            item = await hub.take(channel, hears_gaps=True)
            if isinstance(item, Gap):
                return item
            try:
                message: Message = self._decode(item[1])
                return message if item[4] is None else self._traced(message, item[4], channel)
            except Exception as error:
                self._undecodable(hub, channel, error)

    async def close_channel(self, channel: str) -> None:
        """Forgets a channel of this process: it leaves its groups, and what waits for it is dropped and counted.

        Needed only for channels that were read with `receive_or_gap`; others are forgotten when they are empty and in
        no group. Who still waits for the channel goes on waiting.
        """
        self._names.check_channel(channel)
        hub = self.hub()
        self._check_own(channel, hub)
        hub.check_outside()
        with hub.lock:
            box = hub.mailboxes.get(channel)
            if box is None:
                return
            hub.ask_to_close(box)
            hub.transmit_corked()
            hub.discard(box)
            box.is_watched = False
            box.items.clear()
            hub.forget_idle(box)

    # MARK: Looking

    async def group_channels(self, group: str) -> List[str]:
        """The channels in a group, as the broker knows them, sorted."""
        self._names.check_group(group)
        found: List[str] = []
        cursor: Optional[str] = None
        while True:
            rows, _, cursor = await self._inspect_group(group, ROWS_MOST, cursor)
            found.extend(row["channel"] for row in rows)
            if cursor is None:
                return sorted(found)

    async def group_count(self, group: str) -> int:
        """How many channels are in a group."""
        self._names.check_group(group)
        _, total, _ = await self._inspect_group(group, 1, None)
        return total

    async def _inspect_group(
        self, group: str, limit: int, cursor: Optional[str]
    ) -> Tuple[List[Dict[str, Any]], int, Optional[str]]:
        hub = self.hub()
        query: Dict[str, Any] = {"name": group, "namespace": hub.configuration.namespace}
        if cursor is not None:
            query["cursor"] = cursor
        query["limit"] = limit
        try:
            answer = await hub.call(p.INSPECT, ("group", query), again=True)
        except BrokerRefused as refused:
            if refused.code == NOT_FOUND:
                return [], 0, None
            raise
        return answer.get("rows", []), int(answer.get("total", 0)), answer.get("cursor")

    def check_connection(self) -> Dict[str, Any]:
        """Connects if there is no connection yet, and returns the broker's welcome.

        Tries once: `BrokerUnavailable` says what was wrong with each endpoint.
        """
        hub = self.hub()
        hub.ready_in_thread(None)
        return hub.welcome

    def statistics(self) -> Dict[str, Any]:
        """What this process knows of itself: mailboxes, unread messages, memberships, and what was missed by reason."""
        hub = self.hub()
        hub.check_outside()
        with hub.lock:
            return {
                "connected": hub.link is not None,
                "is_leaving": hub.leave_at is not None or hub.left is not None,
                "channels": len(hub.mailboxes),
                "unread": hub.unread,
                "groups": len(hub.groups),
                "memberships": sum(map(len, hub.groups.values())),
                "undecodable": hub.undecodable,
                "missed": dict(hub.gaps_heard),
            }


def _milliseconds(expiry: Optional[float]) -> Optional[int]:
    return None if expiry is None else milliseconds(expiry, "expiry")
