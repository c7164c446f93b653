"""Report on the GPUs of this machine, as a table: libraries, trials of cuDNN's layers, times and memory of steps.

The same steps by PyTorch stand beside ours where it is installed, in a process of its own.
"""

import functools
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from utils.errors import DataError
from utils.gpu.devices import LIBRARIES, faults, gpus, library_states, uses_tf32
from utils.gpu.peer import Peer
from utils.gpu.steps import CASES, DEFAULT, FEATURES, Case, TrainingStep, batch_of
from utils.gpu.trial import run_trial
from utils.recognition.recognizer import recurrence_trial
from utils.system import num_cores
from utils.train.strategies import session_options

MIN_STEPS = 3
TRIED_UNITS = 512
TANH = {**DEFAULT.model_fields, 'activation': 'tanh'}
# name, case, and the forms of its recurrent layers: cuDNN has no clipped ReLU, the default
TIMED = [
    *((letter, case, ('loop', 'cudnn')) for letter, case in CASES.items()),
    ('default model, -b 32', DEFAULT, ('loop',)),
    ('the same with -a tanh', DEFAULT._replace(model_fields=TANH), ('loop', 'cudnn')),
]

Row = tuple[str, str]


def print_line(line: str) -> None:
    """Prints a line at once: the next one may take minutes."""
    print(line, flush=True)


def report(seconds: float, show: Callable[[str], None] = print_line, device: str = 'gpu') -> int:
    """Shows the table, line by line.

    Args:
      seconds: time for the steps of each case and form.
      device: gpu, or cpu: steps on the processor, without trials.
      show: called with each line.

    Returns:
      0 if TensorFlow finds a GPU and each trial passes, else 1; 0 on the processor.
    """
    if device == 'cpu':
        return _report_processor(seconds, show)
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
    # before TensorFlow takes the memory of the card
    for timed in torch_times(seconds, 'cuda'):
        show(f'| {" | ".join(timed)} |')
    passed = True
    for what, fault, result in trials():
        passed = passed and not fault
        show(f'| {what} | {result} |')
    for timed in step_times(seconds):
        show(f'| {" | ".join(timed)} |')
    return 0 if passed else 1


def _report_processor(seconds: float, show: Callable[[str], None]) -> int:
    tf.config.set_visible_devices([], 'GPU')
    show('| what | found |\n|---|---|')
    show(f'| TensorFlow | {tf.version.VERSION} |\n| processor | {num_cores()} cores |')
    cases = [(letter, case, ('loop',)) for letter, case in CASES.items()]
    for timed in (*torch_times(seconds, 'cpu'), *step_times(seconds, cases)):
        show(f'| {" | ".join(timed)} |')
    return 0


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


def torch_times(seconds: float, device: str) -> Iterator[Row]:
    """Times of the cases' steps by PyTorch, on cuda or cpu; models without batch norm and dropout."""
    if not importlib.util.find_spec('torch'):
        yield 'PyTorch', f'not installed; to compare: {sys.executable} -m pip install torch'
        return
    for letter, case in CASES.items():
        peer = Peer(sys.executable, 'torch_step.py', case, device)
        try:
            peer.step()
            result = f'{1e3 * _median(peer.step, seconds):.1f} ms'
        except DataError as error:
            result = f'FAULT: {error}'
        finally:
            peer.close()
        yield _describe(letter, case, 'PyTorch'), result


def step_times(seconds: float, timed: list = TIMED) -> Iterator[Row]:
    """Times and memory of training steps, each in each of its forms."""
    for name, case, forms in timed:
        for form in forms:
            yield _describe(name, case, form), time_step(case, form, seconds)


def _describe(name: str, case: Case, form: str) -> str:
    model = ModelConfig(**case.model_fields)
    shape = f'{case.batch} × {case.frames} frames, {model.rnn_layers} × {model.hidden_units}'
    return f'step {name}: {model.model}, {shape}, {form}'


def _median(step: Callable[[], float], seconds: float) -> float:
    """Median of the times of a step that is repeated for so many seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < MIN_STEPS:
        times.append(step())
    return statistics.median(times)


def time_step(case: Case, form: str, seconds: float) -> str:
    """Median time of a training step and the most memory in use, or why it fails."""
    try:
        step = TrainingStep(case, batch_of(case, FEATURES), '', recurrence=form)
        try:
            step()  # allocates, compiles, chooses algorithms
            _reset_memory()
            median = _median(lambda: _time_of(step), seconds)
        finally:
            step.close()
    except (DataError, tf.errors.OpError) as error:
        return f'FAULT: {str(getattr(error, "message", error)).strip().splitlines()[0]}'
    return f'{1e3 * median:.1f} ms, {_peak_memory()}'


def _time_of(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _reset_memory() -> None:
    if gpus():
        tf.config.experimental.reset_memory_stats('GPU:0')


def _peak_memory() -> str:
    if not gpus():
        return 'no memory of a GPU'
    return f'{tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20:.0f} MiB at most'
