"""Where a run computes: the devices of this machine, through tf.distribute."""

import logging
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from utils.errors import UsageError

log = logging.getLogger(__name__)


class Runtime(NamedTuple):
    """A strategy and how to open sessions under it.

    Attributes:
      strategy: places variables and replicas.
      num_replicas: batches of one step.
      session_config: for every session of this process.
    """

    strategy: tf.distribute.Strategy
    num_replicas: int
    session_config: tf.ConfigProto


def local_runtime(
    num_towers: int = 1, gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0
) -> Runtime:
    """This machine's devices: one, or several towers that each take a batch of a step.

    Args:
      num_towers: GPUs to use; with no GPU here, the towers are CPU devices.
      gpu_fraction: share of each GPU's memory to take.
      intra_op_threads: threads within an operation. 0: 1 on CPUs. The loops over time are many small operations, and
        a second thread helps them less than the other direction's loop beside them.
      inter_op_threads: operations at once; 0: one a core.

    Raises:
      UsageError: more towers than GPUs.
    """
    # TF2's functional while loops copy what TF1's carry in place
    tf.disable_control_flow_v2()
    session_config = tf.ConfigProto(allow_soft_placement=True)
    session_config.gpu_options.per_process_gpu_memory_fraction = gpu_fraction
    gpus = tf.config.list_physical_devices('GPU')
    session_config.intra_op_parallelism_threads = intra_op_threads or (0 if gpus else 1)
    session_config.inter_op_parallelism_threads = inter_op_threads
    if gpus and num_towers > len(gpus):
        raise UsageError(f'-g {num_towers}: this machine has {len(gpus)} GPUs; give a number up to that')
    if num_towers == 1:
        return Runtime(tf.distribute.OneDeviceStrategy('/gpu:0' if gpus else '/cpu:0'), 1, session_config)
    if not gpus:
        log.info('no GPU here: %d towers on CPU devices', num_towers)
        cpu = tf.config.list_physical_devices('CPU')[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_towers)
        session_config.device_count['CPU'] = num_towers
    kind = 'gpu' if gpus else 'cpu'
    strategy = tf.distribute.MirroredStrategy([f'/{kind}:{i}' for i in range(num_towers)])
    return Runtime(strategy, num_towers, session_config)
