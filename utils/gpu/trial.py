"""Choice between the two forms of recurrent layers: cuDNN where a trial on this very card shows the same results.

A layout of parameters or a kernel that is not as documented then costs time, never a training.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from utils.errors import DataError, UsageError
from utils.gpu.devices import uses_tf32
from utils.train.strategies import num_gpus

log = logging.getLogger(__name__)

FLOAT32_TOLERANCE, TF32_TOLERANCE = 1e-3, 2e-2  # a product keeps 24 bits or 11
LAUNCHES = 20  # kernels that the loop launches per frame, layer and direction, there and back
HEADING = 'Graph execution error:'  # of TensorFlow's messages
REMEDY = 'run scripts/check_gpu.py and report its table'


class Trial(NamedTuple):
    """Result of a trial: the largest relative difference, of what, and the fault; empty: cuDNN can be used."""

    worst: float
    what: str
    fault: str


def run_trial(build: Callable[[], dict[str, tf.Tensor]], session_config: tf.ConfigProto) -> Trial:
    """Runs a trial on the first GPU.

    Args:
      build: builds the relative differences between both forms, by name, in the default graph.
      session_config: configuration of the session.
    """
    limit = TF32_TOLERANCE if uses_tf32() else FLOAT32_TOLERANCE
    try:
        with tf.Graph().as_default(), tf.device('/gpu:0'):
            tf.set_random_seed(1)
            differences = build()
            with tf.Session(config=session_config) as session:
                session.run(tf.global_variables_initializer())
                found = session.run(differences)
    except tf.errors.OpError as error:
        lines = [line.strip() for line in error.message.splitlines() if line.strip() not in ('', HEADING)]
        return Trial(float('nan'), '', f'fails ({lines[0]})')
    what = max(found, key=lambda name: float('inf') if found[name] != found[name] else found[name])
    worst = float(found[what])
    fault = '' if worst <= limit else f'differs: {what} by {worst:.1e} of its norm, where {limit:.0e} is allowed'
    return Trial(worst, what, fault)


def choose_recurrence(
    wanted: str,
    config: ModelConfig,
    has_cudnn: bool,
    build: Callable[[], dict[str, tf.Tensor]],
    session_config: tf.ConfigProto,
) -> str:
    """Chooses the form of a model's recurrent layers on this machine, `loop` or `cudnn`, and logs why.

    Args:
      wanted: auto, loop or cudnn, as --recurrence gives it.
      config: configuration of the model.
      has_cudnn: whether cuDNN has the model's cell.
      build: as for `run_trial`.
      session_config: configuration of the trial's session.

    Raises:
      UsageError: cudnn is wanted without a GPU, or for a cell that it does not have.
      DataError: cudnn is wanted and its trial fails.
    """
    if wanted == 'loop' or (wanted == 'auto' and not num_gpus()):
        return 'loop'
    cell = f'-rc {config.rnn_cell} -a {config.activation}'
    if wanted == 'cudnn' and not num_gpus():
        raise UsageError(
            '--recurrence cudnn: TensorFlow finds no GPU on this machine; leave it out, or find the reason with '
            'scripts/check_gpu.py'
        )
    if not has_cudnn:
        if wanted == 'cudnn':
            raise UsageError(f'--recurrence cudnn: cuDNN has no {cell}; give -a tanh, or leave --recurrence out')
        log.warning('%s: cuDNN has no such cell (-a tanh has one); %s', cell, _cost(config))
        return 'loop'
    trial = run_trial(build, session_config)
    if not trial.fault:
        log.info('recurrent layers by cuDNN: in a trial within %.1e of the loop (%s)', trial.worst, trial.what)
        return 'cudnn'
    if wanted == 'cudnn':
        raise DataError(f'--recurrence cudnn: cuDNN {trial.fault}; give --recurrence loop, {REMEDY}')
    log.warning('cuDNN %s; %s; %s', trial.fault, _cost(config), REMEDY)
    return 'loop'


def _cost(config: ModelConfig) -> str:
    loops = config.rnn_layers * (1 + config.bidirectional)
    return (
        f'the recurrent layers are loops of about {LAUNCHES} GPU kernels a frame, layer and direction, '
        f'{LAUNCHES * loops} a frame, where cuDNN has one call a layer'
    )
