"""Cluster start-up: starts this task's server, waits for its peers, checks that all have the same hosts."""

import contextlib
import logging
import time
from collections.abc import Iterator

import tensorflow.compat.v1 as tf

from utils.cluster.coordinator import POLL_SECS, ClusterCoordinator
from utils.cluster.peers import (
    LivenessMonitor,
    bypass_proxy,
    check_port_is_free,
    is_reachable,
    leaving_after_errors,
    wait_until_reachable,
)
from utils.cluster.runtime import check_worker_towers, cluster_runtime
from utils.cluster.spec import FLAGS, Cluster
from utils.cluster.store import KeyValueStore
from utils.errors import DataError
from utils.train.strategies import Runtime

log = logging.getLogger(__name__)


def start_server(cluster: Cluster, config: tf.ConfigProto) -> tf.train.Server:
    """Starts TensorFlow's server for this process's task.

    Raises:
      DataError: its port is taken.
    """
    check_port_is_free(cluster.address, FLAGS[cluster.job])
    bypass_proxy([*cluster.ps_hosts, *cluster.ws_hosts])
    log.info(
        'TensorFlow listens on port %s of all addresses of this machine, without authentication: keep the port closed '
        'to networks that are not trusted',
        cluster.address.rpartition(':')[2],
    )
    try:
        return tf.train.Server(cluster.jobs, job_name=cluster.job, task_index=cluster.index, config=config)
    except tf.errors.OpError as error:
        raise DataError(f'{cluster.address}: cannot start a server ({error.message.splitlines()[0]})') from None


def _open_store(cluster: Cluster, server: tf.train.Server, job: str, index: int, timeout_secs: float) -> KeyValueStore:
    device, own = f'/job:{job}/task:{index}', f'/job:{cluster.job}/task:{cluster.index}'
    return KeyValueStore(server.target, device, {device, own}, ClusterCoordinator.keys(cluster), timeout_secs)


def _create_store(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> KeyValueStore:
    """Creates the store of this process, empty except for the hosts that it was given."""
    store = _open_store(cluster, server, cluster.job, cluster.index, timeout_secs)
    store.write(**{**dict.fromkeys(ClusterCoordinator.keys(cluster), ''), 'layout': cluster.layout})
    return store


def _open_peer_stores(
    cluster: Cluster, server: tf.train.Server, peers: list[tuple[str, int]], timeout_secs: float
) -> list[KeyValueStore]:
    """Opens the stores of other tasks, each a job and an index, and checks that they were given the same hosts."""
    stores = []
    for job, index in peers:
        name, end = cluster.describe(job, index), time.monotonic() + timeout_secs
        try:
            store = _open_store(cluster, server, job, index, timeout_secs)
            while not (theirs := store.read('layout')):
                if time.monotonic() > end:
                    raise DataError(f'{name} answers, but is not ready within {timeout_secs:g} s; check its log')
                time.sleep(POLL_SECS)
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0][:200]
            raise DataError(f'{name} exited, or is another task ({reason}); start all with the same hosts') from None
        if theirs != cluster.layout:
            raise DataError(
                f'{name} was started with {theirs}, this task with {cluster.layout}; give all the same hosts'
            )
        stores.append(store)
    return stores


def _connect(cluster: Cluster, server: tf.train.Server, timeout_secs: float) -> ClusterCoordinator:
    """Connects a worker to the peers that it requires: all parameter servers or, without them, all other workers.

    Raises:
      DataError: a peer does not answer in time, or was given other hosts.
    """
    job = 'ps' if cluster.ps_hosts else 'worker'
    peers = [(job, i) for i in range(len(cluster.hosts(job))) if (job, i) != (cluster.job, cluster.index)]
    hosts = {cluster.describe(job, i): cluster.hosts(job)[i] for job, i in peers}
    # workers check each other's hosts in their stores, so each has one; the coordinator uses the chief's
    own = [] if cluster.ps_hosts else [_create_store(cluster, server, timeout_secs)]
    wait_until_reachable(hosts, timeout_secs)
    stores = _open_peer_stores(cluster, server, peers, timeout_secs)
    stores = own if own and cluster.is_chief else stores
    return ClusterCoordinator(cluster, stores, LivenessMonitor(hosts, timeout_secs), timeout_secs)


@contextlib.contextmanager
def join_cluster(
    cluster: Cluster, options: tf.ConfigProto, towers: int, timeout_secs: float
) -> Iterator[tuple[Runtime, ClusterCoordinator]]:
    """Makes this process a worker of a cluster; any error, in the body too, ends the process with a line.

    Args:
      cluster: the cluster, with this process's task.
      options: session options, see `session_options`.
      towers: number of towers of each worker.
      timeout_secs: longest wait for a task that does not answer.
    """
    with leaving_after_errors():
        check_worker_towers(towers)
        runtime = cluster_runtime(cluster, options, towers)
        server = start_server(cluster, runtime.cluster_config)
        coordinator = _connect(cluster, server, timeout_secs)
        log.info('%s of a cluster: %s', cluster.describe('worker', cluster.index), cluster.layout)
        try:
            yield runtime._replace(target=server.target), coordinator
        except tf.errors.OpError as error:
            raise coordinator.monitor.explain(error) from error
        finally:
            coordinator.monitor.stop()


@leaving_after_errors()
def run_parameter_server(cluster: Cluster, config: tf.ConfigProto, timeout_secs: float) -> int:
    """Runs a parameter server until the chief announces the end of the run; returns the exit status 0.

    An error ends the process with a line: above all that no worker has been reachable for the timeout.
    """
    store = _create_store(cluster, start_server(cluster, config), timeout_secs)
    log.info('%s is ready for %d workers', cluster.describe('ps', cluster.index), len(cluster.ws_hosts))
    last_seen = probed = time.monotonic()
    while not store.read('finished'):
        now = time.monotonic()
        if now - probed > min(2.0, timeout_secs / 4):
            probed = now
            if any(is_reachable(host) for host in cluster.ws_hosts):
                last_seen = time.monotonic()
            elif now - last_seen > timeout_secs:
                raise DataError(
                    f'no worker of {", ".join(cluster.ws_hosts)} has answered for {timeout_secs:g} s; '
                    f'start them, or raise --cluster_timeout_secs'
                )
        time.sleep(POLL_SECS)
    log.info('training is complete')
    return 0
