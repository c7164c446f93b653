"""Builds the tf.distribute strategy and session configuration of a run on this machine."""

import contextlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from utils.errors import UsageError
from utils.system import num_cores

log = logging.getLogger(__name__)

BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}  # names in /proc/cpuinfo; the last is ARM's


class Runtime(NamedTuple):
    """A distribution strategy, this process's part in it, and the configuration of its sessions."""

    strategy: tf.distribute.Strategy  # places variables and replicas
    num_replicas: int  # replicas that make an update together, over all processes
    session_config: tf.ConfigProto  # of every session that uses this process only
    local_replicas: int = 1  # replicas of this process
    first_replica: int = 0  # number of the first of them
    share: int = 0  # number of this process's share of an epoch's updates
    num_shares: int = 1
    is_chief: bool = True  # whether this process initialises the variables
    target: str = ''  # server of the training session in a cluster
    cluster_config: tf.ConfigProto | None = None  # of that session


def session_options(gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0) -> tf.ConfigProto:
    """Returns the configuration of every session, and sets this process's threads accordingly.

    Args:
      gpu_fraction: fraction of the GPU's memory to allocate.
      intra_op_threads: threads within an operation. 0: on a CPU one for every two cores, because the two directions of
        a layer run side by side. On two cores (the only number measured) a second thread slows training down: the
        loops over time consist of small operations, each of which would be handed to another thread and back.
      inter_op_threads: operations that run at once; 0: one for each core.
    """
    # TF2's functional while loops copy what TF1's carry in place
    tf.disable_control_flow_v2()
    config = tf.ConfigProto(allow_soft_placement=True)
    # 0 is all but what CUDA and cuDNN need for themselves, which a share of 1 would take from them
    config.gpu_options.per_process_gpu_memory_fraction = gpu_fraction if gpu_fraction < 1 else 0.0
    config.intra_op_parallelism_threads = intra_op_threads or (0 if num_gpus() else max(1, num_cores() // 2))
    # the first runtime of a process creates the threads for all, and tf.data starts the eager one before any session
    with contextlib.suppress(RuntimeError):  # it has started already
        tf.config.threading.set_intra_op_parallelism_threads(config.intra_op_parallelism_threads)
    # left at 0, TensorFlow with oneDNN runs the operations of a small machine one after another
    config.inter_op_parallelism_threads = inter_op_threads or num_cores()
    return config


def num_gpus() -> int:
    """Returns the number of GPUs of this machine."""
    return len(tf.config.list_physical_devices('GPU'))


def warn_if_emulated(dtype: str, cpuinfo: str = '/proc/cpuinfo') -> None:
    """Warns on a processor that has no instructions for the type, whose products are slower than float32 ones."""
    if dtype == 'float16' and not num_gpus():
        log.warning('--dtype float16 is for GPUs: a processor is slower with it than in float32; leave it out')
    if dtype != 'bfloat16' or num_gpus() or not os.path.exists(cpuinfo):
        return
    if not BFLOAT16_FLAGS & set(Path(cpuinfo).read_text().split()):
        log.warning('--dtype bfloat16: this processor can only emulate it, slower than float32; leave it out')


def local_runtime(
    gpu_fraction: float = 1.0, intra_op_threads: int = 0, inter_op_threads: int = 0, towers: int = 1
) -> Runtime:
    """Builds the runtime of this machine alone; arguments of `session_options`, and the number of towers.

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
        # all gradients and statistics are one tensor of one all-reduce
        nccl = tf.distribute.NcclAllReduce(num_packs=1) if kind == 'gpu' else None
        strategy = tf.distribute.MirroredStrategy([f'/{kind}:{i}' for i in range(towers)], cross_device_ops=nccl)
    return Runtime(strategy, towers, config, local_replicas=towers)


def require_gpus(towers: int) -> None:
    if towers > num_gpus():
        raise UsageError(f'-g {towers}: this machine has {num_gpus()} GPUs; give at most as many')


def describe_batch(utterances: int, frames: int, runtime: Runtime) -> str:
    """Describes the effective batch: its size per replica and per update, and the workers that make updates."""
    one = f'{frames} frames' if frames else f'{utterances} utterances'
    total = f'{(frames or utterances) * runtime.num_replicas} an update'
    text = f'{one} × {runtime.num_replicas} replicas = {total}' if runtime.num_replicas > 1 else f'{one} an update'
    if runtime.num_shares > 1:
        text += f'; {runtime.num_shares} workers share the updates of an epoch, asynchronously'
    return text
