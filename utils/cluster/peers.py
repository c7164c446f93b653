"""Whether other machines answer, by their TCP ports; without TensorFlow, whose own waiting has neither end nor word."""

import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

from utils.errors import DataError

log = logging.getLogger(__name__)

PROBE_SECS = 2.0  # the longest one probe takes
QUIET_SECS = 15.0  # a wait that is longer is mentioned
PERIOD_SECS = 2.0
RESTART = 'start all tasks again: training goes on from the newest checkpoint'


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(':')
    return name.strip('[]'), int(port)


def is_reachable(host: str, timeout_secs: float = PROBE_SECS) -> bool:
    """Whether something listens at host:port."""
    try:
        socket.create_connection(_address(host), timeout=timeout_secs).close()
        return True
    except OSError:
        return False


def check_port_is_free(host: str, flag: str) -> None:
    """TensorFlow's server shares a port that is taken with its owner, silently.

    Raises:
      DataError: someone listens on the port of host:port, or it cannot be had.
    """
    _, port = _address(host)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
            probe.listen(1)
        except OSError as error:
            reason = 'is in use' if error.errno == errno.EADDRINUSE else f'cannot be had ({error.strerror})'
            raise DataError(
                f'{host}: port {port} {reason} on this machine; end what uses it or give another in {flag}'
            ) from None


def wait_until_reachable(hosts: Mapping[str, str], timeout_secs: float, should_stop: Callable[[], bool] = bool) -> None:
    """Waits until every host answers.

    Args:
      hosts: from the name of each for messages to its host:port.
      timeout_secs: the longest wait.
      should_stop: asked between probes; ends the wait.

    Raises:
      DataError: one did not answer in time; the line names it.
    """
    start, mentioned = time.monotonic(), False
    missing = dict(hosts)
    while not should_stop():
        missing = {name: host for name, host in missing.items() if not is_reachable(host)}
        waited = time.monotonic() - start
        if not missing:
            return
        if waited >= timeout_secs:
            raise DataError(
                f'{", ".join(missing)} did not answer within {timeout_secs:g} s; start it, look at its log and at the '
                f'hosts, or give more --cluster_timeout_secs'
            )
        if not mentioned and waited > min(QUIET_SECS, timeout_secs / 2):
            mentioned = True
            log.info('waiting for %s, up to %g s', ', '.join(missing), timeout_secs)
        time.sleep(0.2)


class LivenessMonitor:
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
                if is_reachable(host):
                    seen[name] = time.monotonic()
                elif time.monotonic() - seen[name] > self._timeout_secs and not self._stopped.is_set():
                    # the main thread may hang in TensorFlow, where no exception reaches it
                    print(f'error: {lost(name, self._timeout_secs)}', file=sys.stderr, flush=True)
                    os._exit(1)

    def explain(self, error: Exception) -> DataError:
        """What is behind a failed step: the task that is lost, where there is one."""
        gone = [name for name, host in self._peers.items() if not is_reachable(host)]
        if gone:
            return DataError(lost(', '.join(gone)))
        reason = str(getattr(error, 'message', error)).strip().splitlines()[0][:200]
        return DataError(f'the cluster broke down ({reason}); {RESTART}')


def lost(name: str, secs: float = 0) -> str:
    """The message for a task that is away."""
    return f'{name} is lost{f": no answer for {secs:g} s" if secs else ""}; {RESTART}'
