"""The tasks of a cluster find each other: servers up, hosts alike, ports free."""

import contextlib
import logging
import time
from collections.abc import Iterator

import tensorflow.compat.v1 as tf

from utils.cluster.coordinator import POLL_SECS, Crew
from utils.cluster.peers import Watch, answers, check_port_is_free, wait_for
from utils.cluster.runtime import check_worker_towers, cluster_runtime
from utils.cluster.spec import FLAGS, Cluster
from utils.cluster.store import Board
from utils.errors import DataError
from utils.train.strategies import Runtime

log = logging.getLogger(__name__)


def start_server(cluster: Cluster, config: tf.ConfigProto) -> tf.train.Server:
    """TensorFlow's server for this process's task.

    Raises:
      DataError: its port is taken.
    """
    check_port_is_free(cluster.address, FLAGS[cluster.job])
    jobs = {job: list(cluster.hosts(job)) for job in FLAGS if cluster.hosts(job)}
    try:
        return tf.train.Server(jobs, job_name=cluster.job, task_index=cluster.index, config=config)
    except tf.errors.OpError as error:
        raise DataError(f'{cluster.address}: no server can be started ({error.message.splitlines()[0]})') from None


def _board(cluster: Cluster, server: tf.train.Server, job: str, index: int, timeout_secs: float) -> Board:
    device = f'/job:{job}/task:{index}'
    own = f'/job:{cluster.job}/task:{cluster.index}'
    return Board(server.target, device, {device, own}, Crew.names(cluster), timeout_secs)


def _put_up(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> Board:
    """The board of this very process, empty but for the hosts that it was given."""
    board = _board(cluster, server, cluster.job, cluster.index, timeout_secs)
    board.write(**{**dict.fromkeys(Crew.names(cluster), ''), 'layout': cluster.layout})
    return board


def _join_board(cluster: Cluster, server: tf.train.Server, job: str, index: int, timeout_secs: float) -> Board:
    """The board of another task, whose hosts must be ours."""
    name, end = cluster.describe(job, index), time.monotonic() + timeout_secs
    try:
        board = _board(cluster, server, job, index, timeout_secs)
        while not (theirs := board.read('layout')[0]):
            if time.monotonic() > end:
                raise DataError(f'{name} answers, but is not ready within {timeout_secs:g} s; look at its log')
            time.sleep(POLL_SECS)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0][:200]
        raise DataError(f'{name} went away, or is another task ({reason}); start all with the same hosts') from None
    if theirs != cluster.layout:
        raise DataError(f'{name} was started with {theirs}, this task with {cluster.layout}; give all the same hosts')
    return board


def join(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> Crew:
    """A worker joins the others: all that it needs answer, and were given the same hosts.

    Raises:
      DataError: one does not answer in time, or was given other hosts.
    """
    if cluster.ps_hosts:
        servers = range(len(cluster.ps_hosts))
        peers = {cluster.describe('ps', i): cluster.ps_hosts[i] for i in servers}
        wait_for(peers, timeout_secs)
        boards = [_join_board(cluster, server, 'ps', i, timeout_secs) for i in servers]
    else:
        others = [i for i in range(len(cluster.ws_hosts)) if i != cluster.index]
        peers = {cluster.describe('worker', i): cluster.ws_hosts[i] for i in others}
        boards = [_put_up(cluster, server, timeout_secs)]
        wait_for(peers, timeout_secs)
        joined = [_join_board(cluster, server, 'worker', i, timeout_secs) for i in others]
        boards = boards if cluster.is_chief else joined
    return Crew(cluster, boards, Watch(peers, timeout_secs), timeout_secs)


@contextlib.contextmanager
def enlist(
    cluster: Cluster, options: tf.ConfigProto, towers: int, timeout_secs: float
) -> Iterator[tuple[Runtime, Crew]]:
    """Makes this process a worker of a cluster; failures of the cluster within become a `DataError` that says whose.

    Args:
      cluster: with this process's task.
      options: of sessions, as in `cluster_runtime`.
      towers: of each worker.
      timeout_secs: the longest wait for somebody who does not answer.
    """
    check_worker_towers(towers)
    runtime = cluster_runtime(cluster, options, towers)
    server = start_server(cluster, runtime.cluster_config)
    crew = join(cluster, server, timeout_secs)
    log.info('%s of a cluster: %s', cluster.describe('worker', cluster.index), cluster.layout)
    try:
        yield runtime._replace(target=server.target), crew
    except tf.errors.OpError as error:
        raise crew.watch.explain(error) from error
    finally:
        crew.watch.stop()


def serve(cluster: Cluster, config: tf.ConfigProto, timeout_secs: float) -> int:
    """A parameter server: holds its variables until the chief says that the run is over.

    Returns:
      0, the exit status.

    Raises:
      DataError: no worker has answered for a while.
    """
    board = _put_up(cluster, start_server(cluster, config), timeout_secs)
    log.info('%s is ready for %d workers', cluster.describe('ps', cluster.index), len(cluster.ws_hosts))
    seen = probed = time.monotonic()
    while not board.read('over')[0]:
        now = time.monotonic()
        if now - probed > min(2.0, timeout_secs / 4):
            probed = now
            if any(answers(host) for host in cluster.ws_hosts):
                seen = time.monotonic()
            elif now - seen > timeout_secs:
                raise DataError(
                    f'no worker of {", ".join(cluster.ws_hosts)} has answered for {timeout_secs:g} s; '
                    f'start them, or give more --cluster_timeout_secs'
                )
        time.sleep(POLL_SECS)
    log.info('the run is over')
    return 0
