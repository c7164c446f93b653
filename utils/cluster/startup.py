"""The tasks of a cluster find each other: servers up, hosts alike, ports free."""

import contextlib
import logging
import time
from collections.abc import Iterator

import tensorflow.compat.v1 as tf

from utils.cluster.coordinator import POLL_SECS, ClusterCoordinator
from utils.cluster.peers import LivenessMonitor, check_port_is_free, is_reachable, wait_until_reachable
from utils.cluster.runtime import check_worker_towers, cluster_runtime
from utils.cluster.spec import FLAGS, Cluster
from utils.cluster.store import KeyValueStore
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


def _open_store(cluster: Cluster, server: tf.train.Server, job: str, index: int, timeout_secs: float) -> KeyValueStore:
    device = f'/job:{job}/task:{index}'
    own = f'/job:{cluster.job}/task:{cluster.index}'
    return KeyValueStore(server.target, device, {device, own}, ClusterCoordinator.names(cluster), timeout_secs)


def _create_store(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> KeyValueStore:
    """The store of this very process, empty but for the hosts that it was given."""
    store = _open_store(cluster, server, cluster.job, cluster.index, timeout_secs)
    store.write(**{**dict.fromkeys(ClusterCoordinator.names(cluster), ''), 'layout': cluster.layout})
    return store


def _open_peer_store(
    cluster: Cluster, server: tf.train.Server, job: str, index: int, timeout_secs: float
) -> KeyValueStore:
    """The store of another task, whose hosts must be ours."""
    name, end = cluster.describe(job, index), time.monotonic() + timeout_secs
    try:
        store = _open_store(cluster, server, job, index, timeout_secs)
        while not (theirs := store.read('layout')[0]):
            if time.monotonic() > end:
                raise DataError(f'{name} answers, but is not ready within {timeout_secs:g} s; look at its log')
            time.sleep(POLL_SECS)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0][:200]
        raise DataError(f'{name} went away, or is another task ({reason}); start all with the same hosts') from None
    if theirs != cluster.layout:
        raise DataError(f'{name} was started with {theirs}, this task with {cluster.layout}; give all the same hosts')
    return store


def connect(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> ClusterCoordinator:
    """A worker joins the others: all that it needs answer, and were given the same hosts.

    Raises:
      DataError: one does not answer in time, or was given other hosts.
    """
    if cluster.ps_hosts:
        servers = range(len(cluster.ps_hosts))
        peers = {cluster.describe('ps', i): cluster.ps_hosts[i] for i in servers}
        wait_until_reachable(peers, timeout_secs)
        stores = [_open_peer_store(cluster, server, 'ps', i, timeout_secs) for i in servers]
    else:
        others = [i for i in range(len(cluster.ws_hosts)) if i != cluster.index]
        peers = {cluster.describe('worker', i): cluster.ws_hosts[i] for i in others}
        stores = [_create_store(cluster, server, timeout_secs)]
        wait_until_reachable(peers, timeout_secs)
        joined = [_open_peer_store(cluster, server, 'worker', i, timeout_secs) for i in others]
        stores = stores if cluster.is_chief else joined
    return ClusterCoordinator(cluster, stores, LivenessMonitor(peers, timeout_secs), timeout_secs)


@contextlib.contextmanager
def join_cluster(
    cluster: Cluster, options: tf.ConfigProto, towers: int, timeout_secs: float
) -> Iterator[tuple[Runtime, ClusterCoordinator]]:
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
    coordinator = connect(cluster, server, timeout_secs)
    log.info('%s of a cluster: %s', cluster.describe('worker', cluster.index), cluster.layout)
    try:
        yield runtime._replace(target=server.target), coordinator
    except tf.errors.OpError as error:
        raise coordinator.monitor.explain(error) from error
    finally:
        coordinator.monitor.stop()


def run_parameter_server(cluster: Cluster, config: tf.ConfigProto, timeout_secs: float) -> int:
    """A parameter server: holds its variables until the chief says that the run is over.

    Returns:
      0, the exit status.

    Raises:
      DataError: no worker has answered for a while.
    """
    store = _create_store(cluster, start_server(cluster, config), timeout_secs)
    log.info('%s is ready for %d workers', cluster.describe('ps', cluster.index), len(cluster.ws_hosts))
    seen = probed = time.monotonic()
    while not store.read('finished')[0]:
        now = time.monotonic()
        if now - probed > min(2.0, timeout_secs / 4):
            probed = now
            if any(is_reachable(host) for host in cluster.ws_hosts):
                seen = time.monotonic()
            elif now - seen > timeout_secs:
                raise DataError(
                    f'no worker of {", ".join(cluster.ws_hosts)} has answered for {timeout_secs:g} s; '
                    f'start them, or give more --cluster_timeout_secs'
                )
        time.sleep(POLL_SECS)
    log.info('the run is over')
    return 0
