"""Looks after the other tasks of a cluster while this one computes: TensorFlow may wait for a lost one for ever."""

import logging
import os
import sys
import threading
import time

from utils.cluster.peers import answers
from utils.errors import DataError

log = logging.getLogger(__name__)

PERIOD_SECS = 2.0
RESTART = 'start all tasks again: training goes on from the newest checkpoint'


class Watch:
    """Ends this process with a line and status 1 when a task that it cannot do without stays away too long."""

    def __init__(self, peers: dict[str, str], timeout_secs: float):
        """Begins to watch.

        Args:
          peers: from the name of each task for messages to its host:port.
          timeout_secs: how long one may be away.
        """
        self._peers, self._timeout_secs = peers, timeout_secs
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Looks no more: the others may leave now."""
        self._stopped.set()

    def _run(self) -> None:
        seen = dict.fromkeys(self._peers, time.monotonic())
        while not self._stopped.wait(min(PERIOD_SECS, self._timeout_secs / 4)):
            for name, host in self._peers.items():
                if answers(host):
                    seen[name] = time.monotonic()
                elif time.monotonic() - seen[name] > self._timeout_secs and not self._stopped.is_set():
                    # the main thread may hang in TensorFlow, where no exception reaches it
                    print(f'error: {lost(name, self._timeout_secs)}', file=sys.stderr, flush=True)
                    os._exit(1)

    def explain(self, error: Exception) -> DataError:
        """What is behind a failed step: the task that is lost, where there is one."""
        gone = [name for name, host in self._peers.items() if not answers(host)]
        if gone:
            return DataError(lost(', '.join(gone)))
        reason = str(getattr(error, 'message', error)).strip().splitlines()[0][:200]
        return DataError(f'the cluster broke down ({reason}); {RESTART}')


def lost(name: str, secs: float = 0) -> str:
    """The message for a task that is away."""
    return f'{name} is lost{f": no answer for {secs:g} s" if secs else ""}; {RESTART}'
