"""Where a run computes, through tf.distribute."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from utils.cli import num_cores


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


def local_runtime(gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0) -> Runtime:
    """The GPU of this machine, or its CPU.

    Args:
      gpu_fraction: share of the GPU's memory to take.
      intra_op_threads: threads within an operation. 0: 1 on a CPU. The loops over time are many small operations, and
        a second thread helps them less than the other direction's loop beside them.
      inter_op_threads: operations at once; 0: one a core.
    """
    # TF2's functional while loops copy what TF1's carry in place
    tf.disable_control_flow_v2()
    has_gpu = bool(tf.config.list_physical_devices('GPU'))
    session_config = tf.ConfigProto(allow_soft_placement=True)
    session_config.gpu_options.per_process_gpu_memory_fraction = gpu_fraction
    session_config.intra_op_parallelism_threads = intra_op_threads or (0 if has_gpu else 1)
    # left at 0, TensorFlow with oneDNN runs the operations of a small machine one after another
    session_config.inter_op_parallelism_threads = inter_op_threads or num_cores()
    return Runtime(tf.distribute.OneDeviceStrategy('/gpu:0' if has_gpu else '/cpu:0'), 1, session_config)
