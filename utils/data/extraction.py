"""Feature extraction on all cores: resumable, and whole or not at all for each utterance."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data.audio import measure, read_audio
from utils.data.feature_file import is_current, remove_stale, write_features
from utils.data.features import FeatureSpec, extract
from utils.errors import DataError

_CHUNK = 8  # utterances sent to a worker at once: some 0.2 s of work, which is how long an interrupt may take
_THREAD_VARIABLES = ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', 'NUMEXPR_NUM_THREADS')


class Task(NamedTuple):
    """One utterance to do: the features of ``audio_path`` with ``label`` go to ``npz_path``."""

    audio_path: str
    npz_path: str
    label: list[int]


class Outcome(NamedTuple):
    """What became of it. Where it failed, ``kind`` is what went wrong in general and ``detail`` in particular."""

    frames: int = 0
    duration_secs: float = 0.0
    is_reused: bool = False
    kind: str = ''
    detail: str = ''


def extract_all(tasks: Iterable[Task], num_tasks: int, spec: FeatureSpec, num_jobs: int) -> list[Outcome]:
    """Does all tasks in ``num_jobs`` processes, with a progress bar.

    Returns:
      The outcomes in the order of the tasks.

    Raises:
      OSError: if a feature file cannot be written.
      DataError: if a worker process dies.
    """
    outcomes: list[Outcome] = [Outcome()] * num_tasks
    pending: dict[Future, tuple[int, list[Task]]] = {}
    chunks = _chunks(tasks)
    with _pool(num_jobs) as pool, _progress_bar(num_tasks) as bar:
        while True:
            for first, chunk in itertools.islice(chunks, 3 * num_jobs - len(pending)):
                pending[_submit(pool, chunk, spec)] = first, chunk
            if not pending:
                return outcomes
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                first, chunk = pending[future]
                try:
                    outcomes[first : first + len(chunk)] = future.result()
                except BrokenProcessPool as error:
                    audio_path = min(pending.values())[1][0].audio_path
                    raise DataError(
                        f'a worker process died (killed, or out of memory?) near {audio_path}; run the same command '
                        f'again: it goes on there; fewer --jobs take less memory'
                    ) from error
                del pending[future]
                bar.update(len(chunk))


def _chunks(tasks: Iterable[Task]) -> Iterator[tuple[int, list[Task]]]:
    """Chunks with the position of their first task; their directories are made ready on the way."""
    tasks = iter(tasks)
    first = 0
    ready: set[str] = set()
    while chunk := list(itertools.islice(tasks, _CHUNK)):
        for directory in {os.path.dirname(task.npz_path) for task in chunk} - ready:
            os.makedirs(directory, exist_ok=True)
            remove_stale(directory)
            ready.add(directory)
        yield first, chunk
        first += len(chunk)


@contextlib.contextmanager
def _pool(num_jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool that ends soon when the block fails, and whose workers leave one another their cores."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, '1'))  # inherited by the workers, which import numpy anew
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(num_jobs, context, initializer=_start_worker)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if _is_main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as for Ctrl-C
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if _is_main_thread():
            signal.signal(signal.SIGTERM, handler)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _progress_bar(total: int) -> tqdm:
    # In a log file a line every ten seconds is enough.
    return tqdm(total=total, unit='utt', desc='features', mininterval=0.2 if sys.stderr.isatty() else 10.0)


def _submit(pool: ProcessPoolExecutor, chunk: list[Task], spec: FeatureSpec) -> Future:
    """Submits a chunk. This may start a worker, which must not see the Ctrl-C that its parent answers."""
    if not _is_main_thread():
        return pool.submit(_do_chunk, chunk, spec)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(_do_chunk, chunk, spec)
    finally:
        signal.signal(signal.SIGINT, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Without this, the workers of a parent that was killed would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _do_chunk(chunk: list[Task], spec: FeatureSpec) -> list[Outcome]:
    return [_do_task(task, spec) for task in chunk]


def _do_task(task: Task, spec: FeatureSpec) -> Outcome:
    label = np.asarray(task.label, np.int32)
    kind = 'audio that cannot be read'
    try:
        num_samples, duration_secs = measure(task.audio_path)
        shape = spec.num_frames(num_samples), spec.featlen
        if is_current(task.npz_path, task.audio_path, shape, label):
            return Outcome(shape[0], duration_secs, is_reused=True)
        samples = read_audio(task.audio_path)
        kind = 'audio too short'
        features = extract(samples, spec)
    except DataError as error:
        return Outcome(kind=kind, detail=str(error))
    write_features(task.npz_path, features, label)
    return Outcome(len(features), duration_secs)
