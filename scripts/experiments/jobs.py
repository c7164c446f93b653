"""Trainings and tests of the rows of a table, as subprocesses that are pinned, limited in time and resumable."""

import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from scripts.benchmark.measuring import machine
from scripts.experiments.sets import FeatureSets
from scripts.experiments.status import BEGUN, FAILED, LIMIT, STOPPED, TRAINED, Place, Status, write_definition
from scripts.experiments.table import Decoding, Row, Table
from utils.errors import REPOSITORY, DataError

log = logging.getLogger(__name__)

GRACE_SECS = 120  # in which a training that is told to stop saves its checkpoint
_POLL_SECS, _NOTE_SECS = 0.2, 30.0
_PACKAGES = ('tensorflow', 'numpy', 'numba')


class CommandError(Exception):
    """A command that failed or ran out of time; the state of the row, and the reason."""

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state = state


class Interrupted(Exception):
    """The runner was told to stop while a command ran."""


class Runner:
    """Runs what the rows of a table still lack."""

    def __init__(self, table: Table, runs_dir: Path, num_jobs: int):
        """`num_jobs` trainings run at once, each on cores of its own."""
        self._table, self._runs_dir, self._num_jobs = table, runs_dir, num_jobs
        self._sets, self._stop = FeatureSets(table, runs_dir), threading.Event()
        self._origin = {'commit': commit(), 'machine': machine(), 'versions': versions()}

    def run(self, rows: Sequence[Row], seeds: Sequence[int], on_change=lambda: None) -> None:
        """Makes the features, then trains and tests each row and seed; all rows of a seed before the next seed.

        Args:
          rows: rows, each after the row that it starts from.
          seeds: random seeds.
          on_change: called after each row and seed.

        Raises:
          KeyboardInterrupt: after all commands have saved and ended.
        """
        faults = self._make_features(rows)
        pending = [(row, Place(self._runs_dir, row.name, seed)) for seed in seeds for row in rows]
        groups = core_groups(self._num_jobs)
        running: dict[Future, tuple[Place, set[int]]] = {}
        with ThreadPoolExecutor(self._num_jobs) as pool:
            try:
                while pending or running:
                    waiting = [place for _, place in pending] + [place for place, _ in running.values()]
                    unfinished = {(place.row, place.seed) for place in waiting}
                    ready = [each for each in pending if (each[0].source, each[1].seed) not in unfinished]
                    if ready and groups:
                        pending.remove(ready[0])
                        row, place = ready[0]
                        cores, fault = groups.pop(0), faults.get(self._table.features_name(row), '')
                        running[pool.submit(self._run_one, row, place, cores, fault)] = place, cores
                        continue
                    done, _ = wait(running, timeout=_POLL_SECS, return_when=FIRST_COMPLETED)
                    for future in done:
                        groups.append(running.pop(future)[1])
                        future.result()
                        on_change()
            except BaseException:
                self._stop.set()
                raise

    def _make_features(self, rows: Sequence[Row]) -> dict[str, str]:
        """Makes the missing sets of features; returns the fault of each that cannot be made."""
        def run(arguments: Sequence[str], log_path: Path) -> str:
            try:
                self._command(arguments, log_path)
            except CommandError as error:
                return str(error)
            return ''

        faults = {}
        for name in dict.fromkeys(map(self._table.features_name, rows)):
            try:
                self._sets.make(name, run)
            except (DataError, OSError) as error:
                faults[name] = f'features {name}: {error}'
                log.error('%s', faults[name])
        return faults

    def _run_one(self, row: Row, place: Place, cores: set[int], fault: str) -> None:
        """Trains and tests a row and seed as far as it is not done; faults are recorded, not raised."""
        if self._stop.is_set():
            return
        if self._num_jobs > 1 and hasattr(os, 'sched_setaffinity'):
            os.sched_setaffinity(0, cores)  # of this thread, and of the processes that it starts
        try:
            write_definition(self._table, row, self._runs_dir)
            with place.lock():
                status = place.read()
                try:
                    if fault:
                        raise CommandError(FAILED, fault)
                    if status.state != TRAINED:
                        self._train(row, place, status)
                    for decoding in self._table.decodings(row):
                        self._test(row, place, status, decoding)
                    status.reason = ''
                except CommandError as error:
                    if status.state != TRAINED:
                        status.state = error.state
                    status.reason = str(error)
                    log.error('%s: %s: %s', place, error.state, error)
                except Interrupted:
                    status.state = status.state if status.state == TRAINED else STOPPED
                place.write(status)
        except (DataError, OSError) as error:
            log.error('%s: %s', place, error)

    def _train(self, row: Row, place: Place, status: Status) -> None:
        limit_secs = 60 * self._table.file.minutes
        if status.seconds >= limit_secs:
            raise CommandError(LIMIT, self._limit_text())
        flags = [self._table.expand(flag, SEED=str(place.seed)) for flag in self._table.flags(row)]
        if row.source:
            source = Place(self._runs_dir, row.source, place.seed)
            if source.read().state != TRAINED:
                raise CommandError(FAILED, f'row {row.source}, which it starts from, is not trained')
            if row.init_from:
                flags += ['--init_from', str(source.run_dir)]
            elif not place.run_dir.exists():
                copy_run(source.run_dir, place.run_dir)
        indexes = ['-t', *self._sets.indexes(row, 'train'), '-d', *self._sets.indexes(row, 'dev')]
        arguments = ['run_train.py', *flags, '--seed', str(place.seed), *indexes, '-s', str(place.run_dir)]
        log.info('%s: training', place)
        status.state = BEGUN
        place.write(status)
        self._command(arguments, place.log_path, (place, status), limit_secs)
        status.state = TRAINED
        for name, value in self._origin.items():
            setattr(status, name, value)
        place.write(status)
        log.info('%s: trained in %.1f minutes', place, status.seconds / 60)

    def _test(self, row: Row, place: Place, status: Status, decoding: Decoding) -> None:
        """Scores the dev indexes with a decoding, unless that is done."""
        definition = self._table.decoding_definition(row, decoding)
        if status.tested.get(decoding.name) == definition:
            return
        status.tested.pop(decoding.name, None)
        place.write(status)
        for arguments in self._test_commands(row, place, decoding):
            self._command(arguments, place.log_path)
        status.tested[decoding.name] = definition
        place.write(status)

    def _test_commands(self, row: Row, place: Place, decoding: Decoding) -> list[list[str]]:
        run, dev, more = ['-s', str(place.run_dir)], self._sets.indexes(row, 'dev'), self._table.split(row.test)
        commands, lm = [], []
        if decoding.lm:
            model = decoding.lm
            lm = ['--lm', str(place.run_dir / 'lm' / f'{model.unit}-{model.order}.arpa')]
            texts = [self._table.expand(text) for text in model.texts] or self._sets.indexes(row, 'train')
            how = ['--unit', model.unit, '-o', str(model.order), '--check', *dev]
            commands.append(['scripts/train_lm.py', *how, *run, '-l', lm[1], *texts])
        if decoding.tune is not None:
            commands.append(['scripts/tune_lm.py', *run, '-d', *dev, *lm, *more, *self._table.split(decoding.tune)])
        out = str(place.directory / 'test' / decoding.name)
        how = ['--worst', '0', '--html', 'no', '--out', out, *lm, *more, *self._table.split(decoding.flags)]
        return [*commands, ['run_test.py', *run, '-t', *dev, *how]]

    def _limit_text(self) -> str:
        return f'stopped after {self._table.file.minutes:g} minutes; raise minutes to go on'

    def _command(
        self,
        arguments: Sequence[str],
        log_path: Path,
        counted: tuple[Place, Status] | None = None,
        limit_secs: float = float('inf'),
    ) -> None:
        """Runs a script of this project; appends its output to a log, and its time to a status if there is one.

        Raises:
          CommandError: it failed, or was stopped at the limit.
          Interrupted: the runner was told to stop.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(log_path, 'a+') as output:
            print(f'$ {shlex.join(arguments)}', file=output, flush=True)
            start = output.tell()
            begun = noted = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / arguments[0]), *arguments[1:]],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            before = counted[1].seconds if counted else 0.0
            is_late = False
            try:
                while not has_ended(process) and not self._stop.is_set() and not is_late:
                    now = time.monotonic()
                    is_late = before + now - begun >= limit_secs
                    if counted and now - noted >= _NOTE_SECS:
                        noted, counted[1].seconds = now, before + now - begun
                        counted[0].write(counted[1])
            finally:
                is_stopped = process.poll() is None
                if is_stopped:
                    end(process)
                if counted:
                    counted[1].seconds = before + time.monotonic() - begun
            if is_stopped and is_late:
                raise CommandError(LIMIT, self._limit_text())
            if is_stopped:
                raise Interrupted
            if process.returncode:
                output.seek(start)
                raise CommandError(FAILED, f'{arguments[0]}: {fault(output.read(), process.returncode)} ({log_path})')


def has_ended(process: subprocess.Popen, secs: float = _POLL_SECS) -> bool:
    """Whether a process ends within some seconds."""
    try:
        process.wait(secs)
    except subprocess.TimeoutExpired:
        return False
    return True


def end(process: subprocess.Popen) -> None:
    """Asks a process to stop; kills it and its children where it does not within the grace period."""
    process.send_signal(signal.SIGTERM)
    if not has_ended(process, GRACE_SECS):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fault(output: str, returncode: int) -> str:
    """The last error that a command printed, or else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith('error: ')]
    how = f'signal {-returncode}' if returncode < 0 else f'exit status {returncode}'
    return f'{how}, {(errors or lines or ["no output"])[-1].removeprefix("error: ")}'


def copy_run(source: Path, target: Path) -> None:
    """Copies a run directory; an interrupted copy leaves no run."""
    unfinished = target.with_name(f'.{target.name}.copy')
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    unfinished.rename(target)


def core_groups(num_jobs: int) -> list[set[int]]:
    """The cores of this process, dealt out to the jobs.

    Raises:
      ValueError: fewer cores than jobs.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else [*range(os.cpu_count() or 1)]
    if num_jobs > len(cores):
        raise ValueError(f'{num_jobs} jobs on {len(cores)} cores')
    bounds = [round(i * len(cores) / num_jobs) for i in range(num_jobs + 1)]
    return [{*cores[low:high]} for low, high in zip(bounds, bounds[1:], strict=False)]


def commit() -> str:
    """The commit of this checkout; with ``+`` where files have changed since, empty outside git."""
    def git(*arguments: str) -> str:
        done = subprocess.run(['git', '-C', str(REPOSITORY), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if not done.returncode else ''

    found = git('rev-parse', '--short', 'HEAD') if shutil.which('git') else ''
    return found + '+' * bool(found and git('status', '--porcelain', '--untracked-files=no'))


def versions() -> str:
    """Versions of Python and of the libraries that the weights depend on."""
    names = (f'{name} {importlib.metadata.version(name)}' for name in _PACKAGES)
    return f'Python {platform.python_version()}, {", ".join(names)}'
