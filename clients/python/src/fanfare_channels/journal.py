"""What a hub logs: written by a thread of its own, which holds nothing of the hub's."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from typing import Any, Deque, Tuple

RECORDS_MOST = 1_000
"""Records that may wait for a slow handler; the oldest go first."""


class Journal:
    """Log records on their way to the application's handlers, in order.

    They come up under the hub's lock, or in the thread that connects. A handler may send them through the layer, so it
    must not run there: it would wait for ever.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._records: Deque[Tuple[int, str, Tuple[Any, ...]]] = deque(maxlen=RECORDS_MOST)
        self._is_writing = False

    def log(self, level: int, text: str, *arguments: Any) -> None:
        """Has a record written soon; never waits for a handler."""
        # At the end of the interpreter no thread runs any more, and to start one may never return.
        if not self._logger.isEnabledFor(level) or sys.is_finalizing():
            return
        with self._lock:
            self._records.append((level, text, arguments))
            if self._is_writing:
                return
            self._is_writing = True
        try:
            threading.Thread(target=self._write, name="fanfare-channels-log", daemon=True).start()
        except RuntimeError:
            # The interpreter is about to end, or has no thread left: the next record tries again.
            self._is_writing = False

    def _write(self) -> None:
        try:
            while True:
                with self._lock:
                    if not self._records:
                        self._is_writing = False
                        return
                    level, text, arguments = self._records.popleft()
                self._logger.log(level, text, *arguments)
        except BaseException:
            self._is_writing = False
            raise
