"""Whether other machines answer, by their TCP ports; without TensorFlow, whose own waiting has neither end nor word."""

import errno
import logging
import socket
import time
from collections.abc import Callable, Mapping

from utils.errors import DataError

log = logging.getLogger(__name__)

PROBE_SECS = 2.0  # the longest one probe takes
QUIET_SECS = 15.0  # a wait that is longer is mentioned


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(':')
    return name.strip('[]'), int(port)


def answers(host: str, timeout_secs: float = PROBE_SECS) -> bool:
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


def wait_for(hosts: Mapping[str, str], timeout_secs: float, should_stop: Callable[[], bool] = bool) -> None:
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
        missing = {name: host for name, host in missing.items() if not answers(host)}
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
