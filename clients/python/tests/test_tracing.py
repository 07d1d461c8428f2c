"""Traces across processes: senders' spans, handlers' spans that continue them, and messages as they were."""

import asyncio
import subprocess
import sys

import pytest

from fanfare_channels import FanfareChannelLayer, tracing

traces = pytest.importorskip("opentelemetry.trace")
from channels.consumer import AsyncConsumer, SyncConsumer  # noqa: E402
from opentelemetry import baggage, context  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402


@pytest.fixture(scope="module")
def exporter():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # Once for the process: the API takes no other afterwards.
    traces.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter.get_finished_spans


def facts(span):
    return span.name, span.kind.name, dict(span.attributes)


def of(name, kind, operation, destination):
    attributes = {
        "messaging.system": "fanfare",
        "messaging.operation": operation,
        "messaging.destination.name": destination,
    }
    return name, kind, attributes


async def test_a_handlers_span_is_a_child_of_its_senders_for_each_way_of_sending(spans, make_layer):
    sender, reader = make_layer(), make_layer()
    own = await reader.new_channel()
    await reader.group_add("room", own)
    message = {"type": "x", "number": 1}
    ways = [
        ("send", "jobs", "jobs", sender.send("jobs", message)),
        ("send", own, own, sender.send(own, message, expiry=5)),
        ("group_send", "room", own, sender.group_send("room", message)),
        ("group_send", "room", own, sender.group_send("room", message, outcome=True)),
        ("send", "(many)", "jobs", sender.send_many([("jobs", message)])),
        ("group_send", "(many)", own, sender.group_send_many(["room"], message)),
        ("send", "jobs", "jobs", asyncio.to_thread(sender.send_sync, "jobs", message)),
        ("group_send", "room", own, asyncio.to_thread(sender.group_send_sync, "room", message)),
    ]
    for operation, destination, channel, way in ways:
        await way
        received = await reader.receive(channel)
        assert received == message
        with tracing.handling(received) as span:
            assert traces.get_current_span() is span
        sent, handled = spans()[-2:]
        assert facts(sent) == of(f"fanfare.{operation}", "PRODUCER", "publish", destination)
        assert facts(handled) == of("fanfare.receive", "CONSUMER", "process", channel)
        assert handled.context.trace_id == sent.context.trace_id
        assert handled.parent.span_id == sent.context.span_id
    assert len(spans()) == 2 * len(ways)


async def test_a_consumer_continues_the_trace_and_gets_the_message_as_it_was(spans, layer):
    seen = []

    class Asynchronous(tracing.TracedConsumer, AsyncConsumer):
        async def x_y(self, message):
            seen.append((dict(message), traces.get_current_span().get_span_context().trace_id))

    class Synchronous(tracing.TracedConsumer, SyncConsumer):
        def x_y(self, message):
            seen.append((dict(message), traces.get_current_span().get_span_context().trace_id))

    await layer.send("jobs", {"type": "x.y", "text": "z"})
    [sent] = spans()
    message = await layer.receive("jobs")
    for consumer in (Asynchronous(), Synchronous()):
        await consumer.dispatch(message)
    assert seen == [({"type": "x.y", "text": "z"}, sent.context.trace_id)] * 2
    # What comes from the client has no trace, and no span.
    await Asynchronous().dispatch({"type": "x.y"})
    assert len(spans()) == 3


async def test_a_handler_that_raises_ends_its_span_with_the_error(spans, layer):
    await layer.send("jobs", {"type": "x"})
    message = await layer.receive("jobs")
    with pytest.raises(ZeroDivisionError), tracing.handling(message):
        1 / 0
    assert [event.name for event in spans()[-1].events] == ["exception"]


async def test_a_forwarded_message_and_its_context_go_on(spans, layer):
    await layer.send("first", {"type": "x"})
    message = await layer.receive("first")
    with tracing.handling(message):
        await layer.send("second", message)
    again = await layer.receive("second")
    assert again == {"type": "x"}
    assert traces.get_current_span(tracing.context(again)).get_span_context().trace_id == spans()[0].context.trace_id


async def test_baggage_goes_with_the_message_and_is_left_out_when_there_is_too_much(spans, layer):
    for size, expected in [(10, "b" * 10), (600, None)]:
        token = context.attach(baggage.set_baggage("user", "b" * size))
        try:
            await layer.send("jobs", {"type": "x"})
        finally:
            context.detach(token)
        message = await layer.receive("jobs")
        assert baggage.get_baggage("user", tracing.context(message)) == expected
        with tracing.handling(message):
            assert baggage.get_baggage("user") == expected
        assert spans()[-1].parent is not None


async def test_a_message_that_is_given_back_keeps_its_trace(spans, make_layer):
    sender, reader = make_layer(), make_layer()
    await sender.send("jobs", {"type": "x"})
    hub = reader.hub()
    hand_out = await hub.take_shared("jobs")
    with hub.lock:
        # As for a task that was cancelled when it had just been handed the message.
        hub.return_result(hand_out)
    message = await sender.receive("jobs")
    assert tracing.context(message) != context.get_current()
    with tracing.handling(message):
        pass
    assert spans()[-1].parent.span_id == spans()[0].context.span_id


async def test_it_can_be_switched_off(spans, make_layer):
    silent, layer = make_layer(trace=False), make_layer()
    await silent.send("jobs", {"type": "x"})
    assert type(await layer.receive("jobs")) is dict
    await layer.send("jobs", {"type": "x"})
    assert type(await silent.receive("jobs")) is dict
    assert [span.name for span in spans()] == ["fanfare.send"]


def test_without_opentelemetry_nothing_is_imported_and_trace_says_what_is_missing(broker):
    program = f"""
import asyncio, sys
sys.modules["opentelemetry"] = None
from fanfare_channels import FanfareChannelLayer, tracing
assert not tracing.is_available
layer = FanfareChannelLayer(url={broker.url!r})
async def pass_on():
    await layer.send("jobs", {{"type": "x"}})
    message = await layer.receive("jobs")
    with tracing.handling(message) as span:
        assert span is None and type(message) is dict
asyncio.run(pass_on())
layer.close_sync()
try:
    FanfareChannelLayer(trace=True)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "pip install opentelemetry-api" in done.stdout


async def test_without_a_provider_a_trace_that_was_begun_elsewhere_goes_on(broker):
    """In a process of its own: this one has a provider."""
    program = f"""
import asyncio
from opentelemetry import context, propagate
from fanfare_channels import FanfareChannelLayer, tracing
layer = FanfareChannelLayer(url={broker.url!r})
parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
async def pass_on():
    await layer.send("plain", {{"type": "x"}})
    assert type(await layer.receive("plain")) is dict
    context.attach(propagate.extract({{"traceparent": parent}}))
    await layer.send("jobs", {{"type": "x"}})
    print((await layer.receive("jobs")).headers)
asyncio.run(pass_on())
layer.close_sync()
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" in done.stdout
    assert FanfareChannelLayer(url=broker.url)._is_traced
