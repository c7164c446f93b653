"""Report on the GPUs of this machine, as a table: libraries, trials of cuDNN's layers, times and memory of steps."""

import functools
import statistics
import time
from collections.abc import Callable, Iterator

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from utils.errors import DataError
from utils.gpu.devices import LIBRARIES, faults, gpus, library_states, uses_tf32
from utils.gpu.steps import CASES, DEFAULT, Case, TrainingStep, batch_of
from utils.gpu.trial import run_trial
from utils.recognition.recognizer import recurrence_trial
from utils.train.strategies import session_options

MIN_STEPS = 3
TRIED_UNITS = 512
FEATURES = 81
TANH = {**DEFAULT.model_fields, 'activation': 'tanh'}
# name, case, and the forms of its recurrent layers: cuDNN has no clipped ReLU, the default
TIMED = [
    *((letter, case, ('loop', 'cudnn')) for letter, case in CASES.items()),
    ('default model, -b 32', DEFAULT, ('loop',)),
    ('the same with -a tanh', DEFAULT._replace(model_fields=TANH), ('loop', 'cudnn')),
]

Row = tuple[str, str]


def report(seconds: float, show: Callable[[str], None] = print) -> int:
    """Shows the table, line by line.

    Args:
      seconds: time for the steps of each case and form.
      show: called with each line.

    Returns:
      0 if TensorFlow finds a GPU and each trial passes, else 1.
    """
    found, states = gpus(), library_states()
    missing = faults(states, tf.test.is_built_with_cuda(), len(found))
    show('| what | found |\n|---|---|')
    for row in _machine(states):
        show(f'| {" | ".join(row)} |')
    for i, gpu in enumerate(found):
        show(f'| GPU {i} | {gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]} |')
    if missing:
        show('| GPU | none |')
        show('\nTensorFlow finds no GPU:')
        for reason in missing:
            show(f'- {reason}')
        return 1
    show(f'| float32 products | {"TensorFloat-32, 11 bits" if uses_tf32() else "24 bits"} |')
    passed = True
    for what, fault, result in trials():
        passed = passed and not fault
        show(f'| {what} | {result} |')
    for timed in step_times(seconds):
        show(f'| {" | ".join(timed)} |')
    return 0 if passed else 1


def _machine(states: dict[str, str]) -> Iterator[Row]:
    build = tf.sysconfig.get_build_info()
    cuda, cudnn = (build.get(f'{name}_version', 'no') for name in ('cuda', 'cudnn'))
    yield 'TensorFlow', f'{tf.version.VERSION}, built for CUDA {cuda} and cuDNN {cudnn}'
    for name, where in states.items():
        yield f'{name} ({LIBRARIES[name]})', where or 'MISSING'


def trials() -> Iterator[tuple[str, str, str]]:
    """Trials of cuDNN's layers of TRIED_UNITS units: what was tried, its fault, and a description of the result."""
    for cell in ('gru', 'lstm', 'rnn'):
        for bidirectional in (False, True):
            config = ModelConfig(
                rnn_cell=cell, activation='tanh', hidden_units=TRIED_UNITS, bidirectional=bidirectional
            )
            trial = run_trial(functools.partial(recurrence_trial, config), session_options())
            what = f'trial of {cell}, {"two directions" if bidirectional else "one direction"}, batch norm'
            equal = f'equal within {trial.worst:.1e} ({trial.what})'
            yield what, trial.fault, f'FAULT: cuDNN {trial.fault}' if trial.fault else equal


def step_times(seconds: float) -> Iterator[Row]:
    """Times and memory of the training steps in TIMED, each in each of its forms."""
    for name, case, forms in TIMED:
        for form in forms:
            model = ModelConfig(**case.model_fields)
            shape = f'{case.batch} × {case.frames} frames, {model.rnn_layers} × {model.hidden_units}'
            yield f'step {name}: {model.model}, {shape}, {form}', time_step(case, form, seconds)


def time_step(case: Case, form: str, seconds: float) -> str:
    """Median time of a training step and the most memory in use, or why it fails."""
    try:
        step = TrainingStep(case, batch_of(case, FEATURES), '', recurrence=form)
        try:
            step()  # allocates, compiles, chooses algorithms
            _reset_memory()
            times: list[float] = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(times) < MIN_STEPS:
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
        finally:
            step.close()
    except (DataError, tf.errors.OpError) as error:
        return f'FAULT: {str(getattr(error, "message", error)).strip().splitlines()[0]}'
    return f'{1e3 * statistics.median(times):.1f} ms, {_peak_memory()}'


def _reset_memory() -> None:
    if gpus():
        tf.config.experimental.reset_memory_stats('GPU:0')


def _peak_memory() -> str:
    if not gpus():
        return 'no memory of a GPU'
    return f'{tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20:.0f} MiB at most'
