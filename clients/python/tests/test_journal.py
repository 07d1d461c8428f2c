"""What the layer logs goes through the application's handlers, which may do anything, also use the layer."""

import logging
import threading
import time

from proxies import Cutter

from fanfare_channels.journal import RECORDS_MOST, Journal

PATIENCE_SECONDS = 20


class Recorder(logging.Handler):
    """Passes records to a function, and knows when one was passed that says so much."""

    def __init__(self, act):
        super().__init__()
        self.act = act
        self.texts = []

    def emit(self, record):
        self.act(record)
        self.texts.append(record.getMessage())


def in_time(work):
    """Runs work that may never end in a thread, and fails if it does not."""
    failures = []

    def run():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "it waits for ever"
    assert failures == []


def test_a_handler_may_send_what_is_logged_through_the_layer(make_layer, broker, folder):
    cutter = Cutter(folder / "cut.sock", broker.path)
    logger = logging.getLogger("fanfare_channels")
    level = logger.level
    layer = make_layer(url=cutter.url, capacity=10_000)
    handler = Recorder(lambda record: layer.send_sync("log", {"type": "log", "text": record.getMessage()}))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def work():
        layer.send_sync("queue", {"type": "x"})
        cutter.cut()
        while not handler.texts:
            layer.send_sync("queue", {"type": "x"}, wait=False)
            time.sleep(0.01)
        layer.send_sync("queue", {"type": "x"})

    try:
        in_time(work)
        assert "the link to the broker broke" in handler.texts[0]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        cutter.stop()


def test_a_slow_handler_gets_the_latest_records_in_order():
    gate, is_held, is_last = threading.Event(), threading.Event(), threading.Event()

    def hold(record):
        is_held.set()
        gate.wait(PATIENCE_SECONDS)
        if record.getMessage() == f"{2 * RECORDS_MOST}":
            is_last.set()

    logger = logging.Logger("test")
    handler = Recorder(hold)
    logger.addHandler(handler)
    journal = Journal(logger)
    journal.log(logging.INFO, "%d", 0)
    assert is_held.wait(PATIENCE_SECONDS)
    for number in range(1, 2 * RECORDS_MOST + 1):
        journal.log(logging.INFO, "%d", number)
    gate.set()
    assert is_last.wait(PATIENCE_SECONDS)
    assert handler.texts[: RECORDS_MOST + 1] == ["0", *map(str, range(RECORDS_MOST + 1, 2 * RECORDS_MOST + 1))][
        : len(handler.texts)
    ]
