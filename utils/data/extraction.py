"""Feature extraction in parallel processes, resumable; each feature file is whole or absent."""

import collections
import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from utils.audio.reader import SAMPLE_RATE, measure, read_audio
from utils.data.feature_file import is_current, remove_stale, write_features
from utils.data.features import FeatureSpec, extract
from utils.data.perturb import Perturbation
from utils.errors import DataError

_CHUNK = 8  # utterances per message to a worker: about 0.2 s of work, which delays an interrupt as long


class Task(NamedTuple):
    """One utterance: the features of ``audio_path`` are written to ``npz_path``, with ``label``.

    ``start_secs`` and ``end_secs`` name a segment of the recording, in seconds; None: to its end. ``change`` makes an
    augmented copy of it.
    """

    audio_path: str
    npz_path: str
    label: list[int]
    start_secs: float = 0.0
    end_secs: float | None = None
    change: Perturbation | None = None

    @property
    def source(self) -> str:
        """Segment and changes, which tell it from others of the same length; empty: the whole recording as it is."""
        is_whole = self.start_secs == 0 and self.end_secs is None
        parts = [] if is_whole else [os.path.basename(self.audio_path), self.start_secs, self.end_secs]
        parts += [self.change.source] if self.change else []
        return json.dumps(parts) if parts else ''

    def newest_input(self) -> str:
        """The recording, or the noise that is added to it if that was changed later."""
        noise = self.change.noise if self.change else None
        return max([self.audio_path, noise.path], key=os.path.getmtime) if noise else self.audio_path


class Outcome(NamedTuple):
    """Result of a task.

    Attributes:
      frames: number of frames; 0 after a failure.
      duration_secs: duration of the recording.
      is_reused: whether the feature file existed and was current.
      kind, detail: after a failure, its kind, which is counted, and the message; else empty.
      warnings: suspicions about the recording, if it was read.
    """

    frames: int = 0
    duration_secs: float = 0.0
    is_reused: bool = False
    kind: str = ''
    detail: str = ''
    warnings: tuple[str, ...] = ()


def extract_all(tasks: Iterable[Task], num_tasks: int, spec: FeatureSpec, num_jobs: int) -> list[Outcome]:
    """Does all tasks in ``num_jobs`` processes, with a progress bar.

    `multiprocessing.Pool` would not do: when a worker is killed, it waits for the lost result without end.

    Returns:
      The outcomes, in the order of the tasks.

    Raises:
      OSError: a feature file cannot be written.
      DataError: a worker process died.
    """
    outcomes: list[Outcome] = []
    pending: collections.deque[tuple[Future[list[Outcome]], str]] = collections.deque()  # with the first audio path
    chunks = _chunks(tasks)
    interval = 0.2 if sys.stderr.isatty() else 10.0  # a log file gets one line every ten seconds
    with _pool(num_jobs) as pool, tqdm(total=num_tasks, unit='utt', desc='features', mininterval=interval) as bar:
        while True:
            for chunk in itertools.islice(chunks, 3 * num_jobs - len(pending)):
                pending.append((_submit(pool, chunk, spec), chunk[0].audio_path))
            if not pending:
                return outcomes
            future, audio_path = pending.popleft()
            try:
                outcomes += future.result()
            except BrokenProcessPool as error:
                raise DataError(
                    f'a worker process died (killed, or out of memory?) near {audio_path}; run the same command '
                    f'again: it continues there; fewer --jobs take less memory'
                ) from error
            bar.update(len(outcomes) - bar.n)


def _chunks(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Tasks in chunks, in order; creates the directories of their feature files and removes stale files there."""
    tasks = iter(tasks)
    ready: set[str] = set()
    while chunk := list(itertools.islice(tasks, _CHUNK)):
        for directory in {os.path.dirname(task.npz_path) for task in chunk} - ready:
            os.makedirs(directory, exist_ok=True)
            remove_stale(directory)
            ready.add(directory)
        yield chunk


@contextlib.contextmanager
def _pool(num_jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool that ends soon after the block fails; None for one job, which is done in this process."""
    pool = _make_pool(num_jobs) if num_jobs > 1 else None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as Ctrl-C does
    try:
        with threadpool_limits(1):  # sums of matrix products depend on the number of threads, and features must not
            yield pool
    finally:
        if pool:
            for number in handlers:  # an exception while the workers are joined could leave one without end
                signal.signal(number, _kill_workers)
            pool.shutdown(wait=True, cancel_futures=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _make_pool(num_jobs: int) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(num_jobs, multiprocessing.get_context('spawn'), initializer=_start_worker)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f'/dev/shm: no memory can be shared between processes ({reason}); mount it, or give --jobs 1'
        ) from None


def _submit(pool: ProcessPoolExecutor | None, chunk: list[Task], spec: FeatureSpec) -> Future[list[Outcome]]:
    """Submits a chunk; a worker that this starts must inherit that Ctrl-C, which its parent handles, is ignored."""
    if pool is None:
        done: Future[list[Outcome]] = Future()
        done.set_result(_do_chunk(chunk, spec))
        return done
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(_do_chunk, chunk, spec)
    finally:
        signal.signal(signal.SIGINT, handler)


def _kill_workers(*_) -> None:
    """Ends all workers now; they may be in a long recording."""
    for worker in multiprocessing.active_children():
        worker.kill()


def _start_worker() -> None:
    threadpool_limits(1)  # for good
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Ends a worker whose parent was killed; it would wait for work without end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _do_chunk(chunk: list[Task], spec: FeatureSpec) -> list[Outcome]:
    return [_do_task(task, spec) for task in chunk]


def _do_task(task: Task, spec: FeatureSpec) -> Outcome:
    label = np.asarray(task.label, np.int32)
    kind, change = 'audio that cannot be read', task.change or Perturbation()
    warnings: list[str] = []
    try:
        num_samples, duration_secs = measure(task.audio_path, task.start_secs, task.end_secs)
        num_samples, duration_secs = change.num_samples(num_samples), duration_secs / change.speed
        shape = spec.num_frames(num_samples), spec.featlen
        if is_current(task.npz_path, task.newest_input(), shape, label, task.source):
            return Outcome(shape[0], duration_secs, is_reused=True)
        samples = read_audio(task.audio_path, warnings, task.start_secs, task.end_secs)
        kind = 'noise that cannot be used'
        samples = change.apply(samples)
        kind = 'audio too short'
        features = extract(samples, spec)
    except DataError as error:
        where = '' if task.audio_path in str(error) else f'{task.audio_path}: '
        return Outcome(kind=kind, detail=f'{where}{error}')
    write_features(task.npz_path, features, label, task.source)
    if len(samples) != num_samples:  # the header of an MP3 may be wrong, and that of a streamed FLAC has no length
        duration_secs = len(samples) / SAMPLE_RATE
    return Outcome(len(features), duration_secs, warnings=() if task.change else tuple(warnings))
