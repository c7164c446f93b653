"""SIGINT and SIGTERM as a request to stop after the current step."""

import signal
from typing import Any


class StopRequest:
    """Context manager that records the first signal; a second SIGINT interrupts at once.

    Attributes:
      signal: number of the signal that was received; 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> 'StopRequest':
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, self._old[signal.SIGINT])
