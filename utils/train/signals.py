"""SIGINT and SIGTERM as a request to stop at the next step."""

import signal


class StopRequest:
    """While it is entered, the first signal is noted; a second SIGINT interrupts at once.

    Attributes:
      signal: the number of the signal, 0 before one came.
    """

    def __init__(self):
        self.signal = 0
        self._old = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        self.signal = number
        signal.signal(signal.SIGINT, self._old[signal.SIGINT])
