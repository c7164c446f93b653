"""Liveness of the other tasks: probes, and a monitor that ends this process when a required peer is lost.

TensorFlow's own waiting has no timeout and logs nothing: a step that needs a lost task blocks for ever, and so may the
closing of its session.
"""

import contextlib
import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

from utils.errors import DataError, run_main

log = logging.getLogger(__name__)

PROBE_SECS = 2.0  # timeout of one TCP connection
QUIET_SECS = 15.0  # waits longer than this are logged
MONITOR_PERIOD_SECS = 2.0
SETTINGS_TYPE = 4  # of an HTTP/2 frame, whose header has 9 bytes, the type is the fourth
RESTART = 'start all tasks again: training resumes from the newest checkpoint'


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(':')
    return name.strip('[]'), int(port)


def is_reachable(host: str) -> bool:
    """Returns whether a running process serves gRPC at host:port: whether it sends the first frame of HTTP/2.

    The connection itself is accepted by the kernel, even where the process is stopped.
    """
    try:
        with socket.create_connection(_address(host), timeout=PROBE_SECS) as connection:
            header = connection.recv(9, socket.MSG_WAITALL)
        return len(header) == 9 and header[3] == SETTINGS_TYPE
    except OSError:
        return False


def bypass_proxy(hosts: Iterable[str]) -> None:
    """Excludes hosts from the proxy of `http_proxy`, which gRPC would take even for this machine, in this process."""
    name = 'no_grpc_proxy'  # takes the place of no_proxy
    known = os.environ.get(name, os.environ.get('no_proxy', ''))
    os.environ[name] = ','.join(filter(None, [known, *(_address(host)[0] for host in hosts)]))


_leaving = threading.Lock()  # never released: the first error is the one that is reported


def leave(error: BaseException) -> None:
    """Reports an error as `run_main` does and ends this process at once, whatever TensorFlow waits for."""

    def fail() -> int:
        raise error

    _leaving.acquire()
    status = 1
    try:
        status = run_main(fail)
    except BaseException:
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def leaving_after_errors() -> Iterator[None]:
    """Ends the process after an error in the body."""
    try:
        yield
    except BaseException as error:
        leave(error)


def check_port_is_free(host: str, flag: str) -> None:
    """Checks that this process can listen on host:port, given in `flag`; TensorFlow's server would share a taken port.

    Raises:
      DataError: another process listens on the port, or the system refuses it.
    """
    _, port = _address(host)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
            probe.listen(1)
        except OSError as error:
            reason = 'is in use' if error.errno == errno.EADDRINUSE else f'is not available ({error.strerror})'
            raise DataError(
                f'{host}: port {port} {reason} on this machine; end the process that uses it, '
                f'or give another port in {flag}'
            ) from None


def wait_until_reachable(hosts: Mapping[str, str], timeout_secs: float) -> None:
    """Waits until every host answers; `hosts` are host:port by the task's name in messages.

    Raises:
      DataError: a host did not answer in time; the message names it.
    """
    start, mentioned = time.monotonic(), False
    missing = hosts
    while missing := {name: host for name, host in missing.items() if not is_reachable(host)}:
        waited = time.monotonic() - start
        if waited >= timeout_secs:
            raise DataError(
                f'{", ".join(missing)} did not answer within {timeout_secs:g} s; start it, check its log and the '
                f'host lists, or raise --cluster_timeout_secs'
            )
        if not mentioned and waited > min(QUIET_SECS, timeout_secs / 2):
            mentioned = True
            log.info('waiting for %s, up to %g s', ', '.join(missing), timeout_secs)
        time.sleep(0.2)


class LivenessMonitor:
    """Exits this process with status 1 and a message when a required peer stays unreachable too long."""

    def __init__(self, peers: Mapping[str, str], timeout_secs: float):
        """Starts the monitor thread; `peers` are host:port by the task's name in messages."""
        self._peers, self._timeout_secs = peers, timeout_secs
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Ends monitoring: from now on the peers may exit."""
        self._stopped.set()

    def _run(self) -> None:
        last_seen = dict.fromkeys(self._peers, time.monotonic())
        while not self._stopped.wait(min(MONITOR_PERIOD_SECS, self._timeout_secs / 4)):
            for name, host in self._peers.items():
                if is_reachable(host):
                    last_seen[name] = time.monotonic()
                elif time.monotonic() - last_seen[name] > self._timeout_secs and not self._stopped.is_set():
                    # the main thread may be blocked in TensorFlow, where no exception reaches it
                    leave(DataError(f'{name} is lost: no answer for {self._timeout_secs:g} s; {RESTART}'))

    def explain(self, error: Exception) -> DataError:
        """Returns an error that names the lost peers behind a failed step; without one, TensorFlow's reason."""
        lost = [name for name, host in self._peers.items() if not is_reachable(host)]
        if lost:
            return DataError(f'{", ".join(lost)} is lost; {RESTART}')
        reason = str(getattr(error, 'message', error)).strip().splitlines()[0][:200]
        return DataError(f'the cluster failed ({reason}); {RESTART}')
