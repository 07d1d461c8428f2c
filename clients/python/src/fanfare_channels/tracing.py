"""Traces across processes, where OpenTelemetry is installed: senders' spans, and handlers' spans that continue them.

What a layer hands out is the message that was sent, unchanged. One that came with a trace is a `Traced`, a dict that
also knows it. Nothing of what messages say is in a span.

    class ChatConsumer(tracing.TracedConsumer, AsyncWebsocketConsumer):
        async def chat_message(self, event):    # runs in a span "fanfare.receive", a child of the sender's
            ...

    message = await layer.receive("thumbnails")
    with tracing.handling(message):             # the same without a consumer
        ...
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

from . import protocol as p

try:
    import opentelemetry.context as contexts
    from opentelemetry import propagate
    from opentelemetry import trace as traces
except ImportError:
    is_available = False
else:
    is_available = True

Headers = Dict[str, str]
_RANKS = {"traceparent": 0, "tracestate": 1, "baggage": 3}


class Traced(Dict[str, Any]):
    """A message that came with a trace: equal to the dict that was sent."""

    def __init__(self, message: Dict[str, Any], headers: Headers, source: str) -> None:
        super().__init__(message)
        self.headers = headers
        self.source = source


def context(message: Any) -> Any:
    """The OpenTelemetry context that continues the trace of a message's sender; without one, the current context."""
    if isinstance(message, Traced):
        return propagate.extract(message.headers)
    return contexts.get_current() if is_available else None


@contextmanager
def handling(message: Any) -> Iterator[Any]:
    """What runs inside is a span `fanfare.receive` of kind consumer, a child of the sender's span.

    Yields the span. For a message without a trace it does nothing, and yields `None`.
    """
    if not isinstance(message, Traced):
        yield None
        return
    attributes = _attributes("process", message.source)
    sender = context(message)
    # What the sender passed on besides the span, such as baggage, holds for what runs here.
    token = contexts.attach(sender)
    try:
        tracer = traces.get_tracer("fanfare_channels")
        with tracer.start_as_current_span(
            "fanfare.receive", sender, kind=traces.SpanKind.CONSUMER, attributes=attributes
        ) as span:
            yield span
    finally:
        contexts.detach(token)


class TracedConsumer:
    """Mixed into a consumer of Channels, before its other bases: each message is handled as `handling` says."""

    async def dispatch(self, message: Dict[str, Any]) -> None:
        with handling(message):
            await super().dispatch(message)  # type: ignore[misc]


@contextmanager
def sending(operation: str, destination: str) -> Iterator[Optional[Headers]]:
    """A span `fanfare.send` or `fanfare.group_send` of kind producer; yields what goes with the message, if anything."""
    if isinstance(traces.get_tracer_provider(), traces.ProxyTracerProvider):
        # Nobody records spans here, but the trace may be somebody else's.
        yield _headers() if contexts.get_current() else None
        return
    with traces.get_tracer("fanfare_channels").start_as_current_span(
        f"fanfare.{operation}", kind=traces.SpanKind.PRODUCER, attributes=_attributes("publish", destination)
    ):
        yield _headers()


def _headers() -> Optional[Headers]:
    """As much of the current context as fits: the trace first and baggage last."""
    written: Headers = {}
    propagate.inject(written)
    kept: Headers = {}
    for key in sorted(written, key=lambda key: (_RANKS.get(key, 2), key)):
        if p.fits_trace({**kept, key: written[key]}):
            kept[key] = written[key]
    return dict(sorted(kept.items())) or None


def _attributes(operation: str, destination: str) -> Headers:
    return {
        "messaging.system": "fanfare",
        "messaging.operation": operation,
        "messaging.destination.name": destination,
    }
