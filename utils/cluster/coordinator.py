"""Chief–worker coordination: run files, chief state and worker progress, exchanged as text through a key-value store.

The chief publishes the files of the run directory that a worker needs, so that only the chief needs the directory
itself, and its own state; each worker reports its progress. The store is on parameter server 0, or on the chief where
there are no parameter servers.
"""

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from utils.cluster.peers import QUIET_SECS, RESTART, LivenessMonitor, is_reachable
from utils.cluster.spec import Cluster
from utils.cluster.store import KeyValueStore
from utils.errors import DataError
from utils.files import decode_json
from utils.run_directory import RUN_FILES
from utils.train.trainer import LocalCoordinator

log = logging.getLogger(__name__)

POLL_SECS = 0.2
T = TypeVar('T')

TRAINING, DONE, LEFT = 'training', 'done', 'left'  # the states of a worker


@dataclasses.dataclass
class ChiefState:
    """The published state of the chief.

    Attributes:
      generation: changes with each start of the chief: the variables are then those of a checkpoint.
      starts: (epoch, batch of its share) at which each worker started in this generation.
      epoch: number of the epoch that the chief has started; -1 before the first.
      plateau_scale: factor on the learning rate, from the plateau schedule.
      finished: True when the run is complete, even with epochs left; the workers exit.
    """

    generation: str
    starts: list[tuple[int, int]]
    epoch: int = -1
    plateau_scale: float = 1.0
    finished: bool = False


@dataclasses.dataclass
class _Run:
    """The contents of the run's files by name, and the fingerprint of the training index."""

    files: dict[str, bytes]
    fingerprint: str


@dataclasses.dataclass
class WorkerProgress:
    """The progress of one worker: generation, epoch, batches of its share that are done, and its state."""

    generation: str
    epoch: int
    batch: int
    state: str = TRAINING


def _decode(text: str, kind: type[T]) -> T:
    return decode_json(text, kind, 'the store of the cluster', 'a message of this program', RESTART)


class ClusterCoordinator(LocalCoordinator):
    """Coordinates one worker of a cluster with the others.

    Attributes:
      cluster: the cluster, with this process's task.
      monitor: liveness monitor of the peers that this process requires.
    """

    def __init__(self, cluster: Cluster, stores: list[KeyValueStore], monitor: LivenessMonitor, timeout_secs: float):
        """Takes open stores: of all parameter servers, or of the chief. Messages go through the first."""
        self.cluster, self.monitor = cluster, monitor
        self._stores, self._store, self._timeout_secs = stores, stores[0], timeout_secs
        self._workers = range(1, len(cluster.ws_hosts))

    @staticmethod
    def keys(cluster: Cluster) -> list[str]:
        """Returns the keys of the store."""
        return ['layout', 'run', 'chief_state', 'finished', *(f'worker{i}' for i in range(len(cluster.ws_hosts)))]

    # called by the chief

    def publish(self, paths: list[Path], fingerprint: str) -> None:
        """Publishes the files of the run directory that a worker needs, and the training index's fingerprint."""
        self._write('run', _Run({path.name: path.read_bytes() for path in paths}, fingerprint))

    def begin(self, shares: list, own: tuple[int, int]) -> None:
        """Announces that the variables are ready, and at which (epoch, batch) each worker starts."""
        self._chief_state = ChiefState(str(time.time_ns()), shares or [own] * len(self.cluster.ws_hosts))
        self._update_chief_state()

    def begin_epoch(self, epoch: int, plateau_scale: float) -> None:
        """Announces the epoch that the chief starts, and its factor on the learning rate."""
        self._update_chief_state(epoch=epoch, plateau_scale=plateau_scale)

    def _update_chief_state(self, **changes) -> None:
        self._chief_state = dataclasses.replace(self._chief_state, **changes)
        self._write('chief_state', self._chief_state)

    def shares(self, own: tuple[int, int]) -> list:
        """Returns (epoch, batch) of each worker's share; with all-reduce all are where the chief is."""
        if not self.cluster.ps_hosts:
            return [list(own)] * len(self.cluster.ws_hosts)
        progress = (self._progress_of(worker) for worker in self._workers)
        return [list(own), *([each.epoch, each.batch] for each in progress)]

    def _progress_of(self, worker: int) -> WorkerProgress:
        text = self._store.read(f'worker{worker}')
        progress = _decode(text, WorkerProgress) if text else None
        if progress and progress.generation == self._chief_state.generation:
            return progress
        return WorkerProgress(self._chief_state.generation, *self._chief_state.starts[worker])

    def wait_for_others(self, should_stop: Callable[[], bool]) -> None:
        """Waits until the workers have done their shares; one that stays unreachable is given up after the timeout."""
        if self.cluster.ps_hosts:
            self._wait_for_state((DONE, LEFT), should_stop)

    def finish(self) -> None:
        """Announces that training is complete and waits for all workers to exit; then releases the servers."""
        self.monitor.stop()
        self._update_chief_state(finished=True)
        self._wait_for_state((LEFT,), bool)
        for store in self._stores if self.cluster.ps_hosts else ():
            store.write(finished='yes')

    def _wait_for_state(self, states: tuple[str, ...], should_stop: Callable[[], bool]) -> None:
        last_seen, mentioned = dict.fromkeys(self._workers, time.monotonic()), time.monotonic()
        waiting = list(self._workers)
        while waiting and not should_stop():
            for worker in list(waiting):
                progress, name = self._progress_of(worker), self.cluster.describe('worker', worker)
                place = f'epoch {progress.epoch}, batch {progress.batch}'
                if progress.state in states:
                    waiting.remove(worker)
                elif is_reachable(self.cluster.ws_hosts[worker]):
                    last_seen[worker] = time.monotonic()
                elif time.monotonic() - last_seen[worker] > self._timeout_secs:
                    log.warning('%s stays unreachable: its share from %s on is left out', name, place)
                    waiting.remove(worker)
                elif time.monotonic() - mentioned > QUIET_SECS:
                    mentioned = time.monotonic()
                    log.info('waiting for %s: %s of its share', name, place)
            time.sleep(POLL_SECS if waiting else 0)

    # called by the other workers

    def receive(self, run_dir: str, fingerprint: str) -> None:
        """Waits for the chief's run files and writes them into a directory.

        Raises:
          DataError: the chief trains on other utterances, or sends other files.
        """
        self._run = self._await(lambda: self._store.read('run'), 'to open the run')
        run = _decode(self._run, _Run)
        if run.fingerprint != fingerprint:
            raise DataError(
                f'-t: this worker has {fingerprint}, the chief {run.fingerprint}; give both the same indexes'
            )
        if unknown := run.files.keys() - {*RUN_FILES}:  # a path would be written outside the directory
            raise DataError(
                f'{self.cluster.describe("worker", 0)}, the chief, sends {min(unknown)!r}, which is no file of a run; '
                f'start all tasks with the same code'
            )
        for name, content in run.files.items():
            (Path(run_dir) / name).write_bytes(content)

    def await_chief_state(
        self, is_awaited: Callable[[ChiefState], bool], what: str, should_stop: Callable[[], bool] = bool
    ) -> ChiefState | None:
        """Waits for a state of the chief and returns it; None after should_stop.

        Args:
          is_awaited: whether a state is the one to wait for.
          what: what the chief is to do, for the log: "to begin epoch 3".
          should_stop: polled meanwhile; True ends the wait.
        """
        return self._await(lambda: (state := self.chief_state()) and is_awaited(state) and state, what, should_stop)

    def chief_state(self) -> ChiefState | None:
        """Returns the chief's state; None before the first."""
        text = self._store.read('chief_state')
        return _decode(text, ChiefState) if text else None

    def own_progress(self, state: ChiefState) -> WorkerProgress:
        """Returns where this worker resumes: its own progress in this generation, or the generation's start.

        Raises:
          DataError: the chief has restarted with other settings.
        """
        self._chief_state = state
        if self._store.read('run') != self._run:
            raise DataError('the chief has restarted with other settings; restart this worker as well')
        return self._progress_of(self.cluster.index)

    def report(self, progress: WorkerProgress) -> None:
        """Publishes this worker's progress."""
        self._write(f'worker{self.cluster.index}', progress)

    def _write(self, key: str, value: Any) -> None:
        self._store.write(**{key: msgspec.json.encode(value).decode()})

    def _await(self, poll: Callable[[], Any], what: str, should_stop: Callable[[], bool] = bool) -> Any:
        chief = self.cluster.describe('worker', 0)
        last_seen = mentioned = time.monotonic()
        while not should_stop():
            if value := poll():
                return value
            now = time.monotonic()
            if is_reachable(self.cluster.ws_hosts[0]):
                last_seen = now
            elif now - last_seen > self._timeout_secs:
                raise DataError(f'{chief}, the chief, did not answer for {self._timeout_secs:g} s; {RESTART}')
            if now - mentioned > QUIET_SECS:
                mentioned = now + 3 * QUIET_SECS
                log.info('waiting for %s, the chief, %s', chief, what)
            time.sleep(POLL_SECS)
        return None
