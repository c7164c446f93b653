"""Builds a worker's tf.distribute strategy: parameter servers or all-reduce."""

import tensorflow.compat.v1 as tf

from utils.cluster.spec import Cluster
from utils.errors import UsageError
from utils.train.strategies import Runtime, num_gpus, require_gpus


def check_worker_towers(towers: int) -> None:
    """TensorFlow's cluster strategies know several towers a worker on GPUs only.

    Raises:
      UsageError: more towers than that.
    """
    if towers > 1 and not num_gpus():
        raise UsageError(
            f'-g {towers} in a cluster: TensorFlow gives a worker without GPUs one tower; '
            f'leave -g out and start more workers'
        )
    if towers > 1:
        require_gpus(towers)


def cluster_runtime(cluster: Cluster, options: tf.ConfigProto, towers: int) -> Runtime:
    """A worker's part: asynchronous with parameter servers, synchronous all-reduce without.

    Args:
      cluster: with this process's task.
      options: of `session_options`.
      towers: of each worker.
    """
    cluster_config = tf.ConfigProto()
    cluster_config.CopyFrom(options)
    workers = len(cluster.ws_hosts)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({job: list(cluster.hosts(job)) for job in ('ps', 'worker') if cluster.hosts(job)}),
        task_type='worker',
        task_id=cluster.index,
        num_accelerators={'GPU': towers if num_gpus() else 0},
    )
    with tf.Graph().as_default():
        if not cluster.ps_hosts:
            strategy = tf.distribute.experimental.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
            return Runtime(
                strategy,
                workers * towers,
                options,
                local_replicas=towers,
                first_replica=cluster.index * towers,
                is_chief=cluster.is_chief,
                cluster_config=strategy.update_config_proto(cluster_config),
            )
        strategy = tf.distribute.experimental.ParameterServerStrategy(cluster_resolver=resolver)
    strategy.extended._variable_device = _spread_by_size(resolver, cluster)
    # without this a session waits for every worker, and fails with each of them
    cluster_config.device_filters.extend(['/job:ps', f'/job:worker/task:{cluster.index}'])
    return Runtime(
        strategy,
        towers,
        options,
        local_replicas=towers,
        share=cluster.index,
        num_shares=workers,
        is_chief=cluster.is_chief,
        cluster_config=cluster_config,
    )


class LeastLoaded:
    """Gives each new variable to the parameter server that holds the fewest bytes; ties go to the first.

    Attributes:
      bytes: of each server so far.
    """

    def __init__(self, num_servers: int):
        self.bytes = [0] * num_servers

    def __call__(self, op: tf.Operation) -> int:
        """The server for a variable's op."""
        server = self.bytes.index(min(self.bytes))
        shape, dtype = tf.TensorShape(op.get_attr('shape')), tf.as_dtype(op.get_attr('dtype'))
        self.bytes[server] += (shape.num_elements() or 1) * dtype.size
        return server


def _spread_by_size(resolver, cluster: Cluster):
    """Variables to parameter servers, evenly by size: the strategy's own way looks at their number only."""
    return tf.train.replica_device_setter(
        ps_tasks=len(cluster.ps_hosts),
        worker_device=f'/job:worker/task:{cluster.index}',
        merge_devices=True,
        cluster=resolver.cluster_spec(),
        ps_strategy=LeastLoaded(len(cluster.ps_hosts)),
    )
