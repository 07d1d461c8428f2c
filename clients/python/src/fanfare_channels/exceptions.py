"""What calls of the layer raise."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Type

from channels.exceptions import ChannelFull, MessageTooLarge

__all__ = ["BrokerRefused", "BrokerUnavailable", "ChannelFull", "MessageTooLarge", "Undecodable", "refusal"]


class BrokerUnavailable(ConnectionError):
    """There is no broker, or the link broke before it answered: whether a send was carried out is not known then."""


class BrokerRefused(RuntimeError):
    """The broker refused a request for a reason the channel layer specification has no exception for.

    `code` is a number of the table in `proto/PROTOCOL.md`, section 4; `retry` says whether the same request may
    succeed later unchanged.
    """

    def __init__(self, code: int, text: str, retry: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.retry = retry

    def __reduce__(self) -> Tuple[Any, ...]:
        """Made again from all its arguments: Celery and process pools pickle what a task raises."""
        return type(self), (self.code, str(self), self.retry)


class Undecodable(ValueError):
    """A message body that is not what a message may be. Never leaves the layer: such a message is counted, and gone."""


BAD_NAME, CHANNEL_FULL, MESSAGE_TOO_LARGE, NOT_OWNER, NOT_FOUND = 12, 20, 21, 22, 23


_KINDS: Dict[int, Type[Exception]] = {
    BAD_NAME: TypeError,
    CHANNEL_FULL: ChannelFull,
    MESSAGE_TOO_LARGE: MessageTooLarge,
    NOT_OWNER: AssertionError,
}


def refusal(code: int, text: str, retry: bool) -> Exception:
    """The exception for an `ERROR` of the broker."""
    kind = _KINDS.get(code)
    return BrokerRefused(code, text, retry) if kind is None else kind(text)
