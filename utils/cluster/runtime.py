"""Builds the tf.distribute strategy and the session configuration of a worker in a cluster."""

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from utils.cluster.spec import Cluster
from utils.errors import UsageError
from utils.train.strategies import Runtime, num_gpus, require_gpus


def check_worker_towers(towers: int) -> None:
    """Checks the number of towers of a worker: TensorFlow's cluster strategies support several on GPUs only.

    Raises:
      UsageError: more towers than one without GPUs, or more than the machine has GPUs.
    """
    if towers > 1 and not num_gpus():
        raise UsageError(
            f'-g {towers} in a cluster: TensorFlow gives a worker without GPUs one tower; '
            f'leave -g out and start more workers'
        )
    if towers > 1:
        require_gpus(towers)


def cluster_runtime(cluster: Cluster, options: tf.ConfigProto, towers: int) -> Runtime:
    """Builds a worker's runtime: asynchronous with parameter servers, synchronous all-reduce without.

    Args:
      cluster: the cluster, with this process's task.
      options: session options, see `session_options`.
      towers: number of towers of each worker.
    """
    cluster_config = tf.ConfigProto()
    cluster_config.CopyFrom(options)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs),
        task_type='worker',
        task_id=cluster.index,
        num_accelerators={'GPU': towers if num_gpus() else 0},
    )
    num_workers = len(cluster.ws_hosts)
    if cluster.ps_hosts:
        with tf.Graph().as_default():
            strategy = tf.distribute.experimental.ParameterServerStrategy(cluster_resolver=resolver)
        strategy.extended._variable_device = _place_by_size(resolver, cluster)
        # without the filter a session waits for all workers, and fails with each of them
        cluster_config.device_filters.extend(['/job:ps', f'/job:worker/task:{cluster.index}'])
        runtime = Runtime(strategy, towers, options, share=cluster.index, num_shares=num_workers)
    else:
        with tf.Graph().as_default():
            kinds = tf.distribute.experimental.CollectiveCommunication
            kind = kinds.NCCL if num_gpus() else kinds.AUTO
            strategy = tf.distribute.experimental.MultiWorkerMirroredStrategy(kind, resolver)
            cluster_config = strategy.update_config_proto(cluster_config)
        runtime = Runtime(strategy, num_workers * towers, options, first_replica=cluster.index * towers)
    return runtime._replace(local_replicas=towers, is_chief=cluster.is_chief, cluster_config=cluster_config)


class LeastLoaded:
    """Assigns each new variable to the parameter server that holds the fewest bytes; ties go to the first."""

    def __init__(self, num_servers: int):
        self._bytes = [0] * num_servers

    def __call__(self, op: tf.Operation) -> int:
        """Returns the index of the server for a variable's op."""
        server = self._bytes.index(min(self._bytes))
        shape, dtype = tf.TensorShape(op.get_attr('shape')), tf.as_dtype(op.get_attr('dtype'))
        self._bytes[server] += (shape.num_elements() or 1) * dtype.size
        return server


def _place_by_size(resolver, cluster: Cluster) -> Callable[[tf.Operation], str]:
    """Returns a device function that balances bytes over parameter servers; the strategy's own counts variables."""
    return tf.train.replica_device_setter(
        ps_tasks=len(cluster.ps_hosts),
        worker_device=f'/job:worker/task:{cluster.index}',
        merge_devices=True,
        cluster=resolver.cluster_spec(),
        ps_strategy=LeastLoaded(len(cluster.ps_hosts)),
    )
