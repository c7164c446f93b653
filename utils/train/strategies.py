"""Where a run computes, through tf.distribute."""

import contextlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from utils.errors import UsageError
from utils.system import num_cores

log = logging.getLogger(__name__)

BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}  # as /proc/cpuinfo lists them; the last is ARM's


class Runtime(NamedTuple):
    """A strategy and how to open sessions under it.

    Attributes:
      strategy: places variables and replicas.
      num_replicas: batches of one update, over all processes that make it together.
      session_config: for every session of this process that stays within it.
      local_replicas, first_replica: the replicas of this process, of those num_replicas.
      share, num_shares: which of how many parts of an epoch's updates this process makes.
      is_chief: whether this process initialises the variables.
      target, cluster_config: of the training session, where it is one of a cluster.
    """

    strategy: tf.distribute.Strategy
    num_replicas: int
    session_config: tf.ConfigProto
    local_replicas: int = 1
    first_replica: int = 0
    share: int = 0
    num_shares: int = 1
    is_chief: bool = True
    target: str = ''
    cluster_config: tf.ConfigProto | None = None


def session_options(gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0) -> tf.ConfigProto:
    """Settings of every session.

    Args:
      gpu_fraction: share of the GPU's memory to take.
      intra_op_threads: threads within an operation. 0: on a CPU one for every two cores, because the two directions of
        a layer run side by side. On two cores, the only number that was measured, a second thread slows training: the
        loops over time are many small operations, each of which would go to another thread and back.
      inter_op_threads: operations at once; 0: one a core.
    """
    # TF2's functional while loops copy what TF1's carry in place
    tf.disable_control_flow_v2()
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.per_process_gpu_memory_fraction = gpu_fraction
    config.intra_op_parallelism_threads = intra_op_threads or (0 if num_gpus() else max(1, num_cores() // 2))
    # the first runtime of a process makes the threads of them all, and tf.data starts the eager one before any session
    with contextlib.suppress(RuntimeError):  # it runs already
        tf.config.threading.set_intra_op_parallelism_threads(config.intra_op_parallelism_threads)
    # left at 0, TensorFlow with oneDNN runs the operations of a small machine one after another
    config.inter_op_parallelism_threads = inter_op_threads or num_cores()
    return config


def num_gpus() -> int:
    """The GPUs of this machine."""
    return len(tf.config.list_physical_devices('GPU'))


def warn_if_emulated(dtype: str, cpuinfo: str = '/proc/cpuinfo') -> None:
    """Says so where products in bfloat16 are slower than in float32: on a processor without instructions for them."""
    if dtype != 'bfloat16' or num_gpus() or not os.path.exists(cpuinfo):
        return
    if not BFLOAT16_FLAGS & set(Path(cpuinfo).read_text().split()):
        log.warning('--dtype bfloat16: this processor can only emulate it, slower than float32; leave it out')


def local_runtime(
    gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0, towers: int = 1
) -> Runtime:
    """The GPUs of this machine, or its CPU; arguments as in `session_options`, and the number of towers.

    Raises:
      UsageError: fewer GPUs than towers.
    """
    config = session_options(gpu_fraction, intra_op_threads, inter_op_threads)
    kind = 'gpu' if num_gpus() else 'cpu'
    if towers == 1:
        return Runtime(tf.distribute.OneDeviceStrategy(f'/{kind}:0'), 1, config)
    if kind == 'gpu':
        require_gpus(towers)
    else:
        log.info('-g %d: no GPU on this machine; the towers are %d CPU devices', towers, towers)
        config.device_count['CPU'] = towers
    with tf.Graph().as_default():  # the strategy would otherwise start TensorFlow's eager runtime
        strategy = tf.distribute.MirroredStrategy([f'/{kind}:{i}' for i in range(towers)])
    return Runtime(strategy, towers, config, local_replicas=towers)


def require_gpus(towers: int) -> None:
    if towers > num_gpus():
        raise UsageError(f'-g {towers}: this machine has {num_gpus()} GPUs; give at most as many')


def describe_batch(utterances: int, frames: int, runtime: Runtime) -> str:
    """The effective batch in words: what one update is made of, and who makes updates."""
    one = f'{frames} frames' if frames else f'{utterances} utterances'
    total = f'{(frames or utterances) * runtime.num_replicas} an update'
    text = f'{one} × {runtime.num_replicas} replicas = {total}' if runtime.num_replicas > 1 else f'{one} an update'
    if runtime.num_shares > 1:
        text += f'; {runtime.num_shares} workers share the updates of an epoch, asynchronously'
    return text
