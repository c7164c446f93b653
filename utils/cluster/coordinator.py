"""Who else trains: what the chief and the other workers of a run tell each other, beside the variables.

The chief publishes the run (what is in its directory beside the weights, so that nobody else needs the directory) and
its orders; each worker notes where it stands. All of it is text on one blackboard: that of parameter server 0, or the
chief's where there is none.
"""

import base64
import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from utils.cluster.peers import QUIET_SECS, RESTART, LivenessMonitor, is_reachable
from utils.cluster.spec import Cluster
from utils.cluster.store import KeyValueStore
from utils.errors import DataError
from utils.train.trainer import LocalCoordinator

log = logging.getLogger(__name__)

POLL_SECS = 0.2
TRAINING, DONE, LEFT = 'training', 'done', 'left'


@dataclasses.dataclass
class ChiefState:
    """What the chief says.

    Attributes:
      generation: changes with each start of the chief: the variables are then those of a checkpoint.
      starts: (epoch, batch of its share) where each worker began in this generation.
      epoch: that the chief has begun.
      plateau_scale: of the learning rate.
      finished: the run is complete, epochs left or not; the others can leave.
    """

    generation: str
    starts: list
    epoch: int = -1
    plateau_scale: float = 1.0
    finished: bool = False


@dataclasses.dataclass
class WorkerProgress:
    """Where a worker stands: its generation, epoch, batch of its share, and what it does."""

    generation: str
    epoch: int
    batch: int
    state: str = TRAINING


class ClusterCoordinator(LocalCoordinator):
    """The other workers, as this one sees them."""

    def __init__(self, cluster: Cluster, stores: list[KeyValueStore], monitor: LivenessMonitor, timeout_secs: float):
        """Meets the others.

        Args:
          cluster: everyone.
          stores: of all parameter servers, or of the chief; the first is used by the coordinator.
          watch: over those whom this process needs.
          timeout_secs: bounds every wait for somebody who does not answer.
        """
        self.cluster, self.monitor = cluster, monitor
        self._stores, self._store, self._timeout_secs = stores, stores[0], timeout_secs
        self._others = range(1, len(cluster.ws_hosts))

    @staticmethod
    def names(cluster: Cluster) -> list[str]:
        """The texts on the store."""
        return ['layout', 'run', 'chief_state', 'finished', *(f'worker{i}' for i in range(len(cluster.ws_hosts)))]

    # the chief's side

    def publish(self, paths: list[Path], fingerprint: str) -> None:
        """Tells the others what is trained.

        Args:
          paths: the files of the run directory that a worker needs.
          fingerprint: of the training index.
        """
        files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in paths}
        self._store.write(run=json.dumps({'files': files, 'fingerprint': fingerprint}))

    def begin(self, shares: list, own: tuple[int, int]) -> None:
        """Tells the others that the variables are ready, and where each of them begins."""
        self._chief_state = ChiefState(str(time.time_ns()), shares or [list(own)] * len(self.cluster.ws_hosts))
        self._publish_state()

    def begin_epoch(self, epoch: int, plateau_scale: float) -> None:
        """Tells the others how the chief goes on."""
        self._chief_state = dataclasses.replace(self._chief_state, epoch=epoch, plateau_scale=plateau_scale)
        self._publish_state()

    def _publish_state(self) -> None:
        self._store.write(chief_state=json.dumps(dataclasses.asdict(self._chief_state)))

    def shares(self, own: tuple[int, int]) -> list:
        """(epoch, batch) of each worker's share; with all-reduce all are where the chief is."""
        if not self.cluster.ps_hosts:
            return [list(own)] * len(self.cluster.ws_hosts)
        others = (self._progress_of(worker) for worker in self._others)
        return [list(own), *([position.epoch, position.batch] for position in others)]

    def _progress_of(self, worker: int) -> WorkerProgress:
        (text,) = self._store.read(f'worker{worker}')
        position = WorkerProgress(**json.loads(text)) if text else None
        if position and position.generation == self._chief_state.generation:
            return position
        return WorkerProgress(self._chief_state.generation, *self._chief_state.starts[worker])

    def wait_for_others(self, should_stop: Callable[[], bool]) -> None:
        """Waits for the other workers' shares of the epochs; one that stays away is given up after the timeout."""
        if self.cluster.ps_hosts:
            self._wait_for_state((DONE, LEFT), should_stop)

    def finish(self) -> None:
        """Sends the others home, and waits until they have gone."""
        self.monitor.stop()
        self._chief_state = dataclasses.replace(self._chief_state, finished=True)
        self._publish_state()
        self._wait_for_state((LEFT,), bool)
        for store in self._stores if self.cluster.ps_hosts else ():
            store.write(finished='yes')

    def _wait_for_state(self, states: tuple[str, ...], should_stop: Callable[[], bool]) -> None:
        seen, mentioned = dict.fromkeys(self._others, time.monotonic()), time.monotonic()
        waiting = list(self._others)
        while waiting and not should_stop():
            for worker in list(waiting):
                position, name = self._progress_of(worker), self.cluster.describe('worker', worker)
                if position.state in states:
                    waiting.remove(worker)
                elif is_reachable(self.cluster.ws_hosts[worker]):
                    seen[worker] = time.monotonic()
                elif time.monotonic() - seen[worker] > self._timeout_secs:
                    log.warning(
                        '%s stays away: its share from epoch %d, batch %d on is left out', name, *_place(position)
                    )
                    waiting.remove(worker)
                elif time.monotonic() - mentioned > QUIET_SECS:
                    mentioned = time.monotonic()
                    log.info('waiting for %s: epoch %d, batch %d of its share', name, *_place(position))
            time.sleep(POLL_SECS if waiting else 0)

    # the side of the others

    def receive(self, run_dir: str, fingerprint: str) -> None:
        """Writes the files that the chief has published, once it has, into a directory.

        Raises:
          DataError: the chief trains on other utterances.
        """
        self._run = self._await(lambda: self._store.read('run')[0], 'to open the run')
        run = json.loads(self._run)
        if run['fingerprint'] != fingerprint:
            raise DataError(
                f'-t: this worker has {fingerprint}, the chief {run["fingerprint"]}; give both the same indexes'
            )
        for name, text in run['files'].items():
            (Path(run_dir) / name).write_bytes(base64.b64decode(text))

    def await_chief_state(self, is_new: Callable[[ChiefState], bool], what: str, should_stop=bool) -> ChiefState | None:
        """The chief's state, once they are what is waited for; None when should_stop says so."""
        return self._await(lambda: (state := self.chief_state()) and is_new(state) and state, what, should_stop)

    def chief_state(self) -> ChiefState | None:
        """The chief's state, where it has given some."""
        (text,) = self._store.read('chief_state')
        return ChiefState(**json.loads(text)) if text else None

    def own_progress(self, state: ChiefState) -> WorkerProgress:
        """Where this worker goes on: where it was in this generation, or where the generation began.

        Raises:
          DataError: the chief has started again as something else.
        """
        self._chief_state = state
        if self._store.read('run')[0] != self._run:
            raise DataError('the chief has started again with other settings; start this worker again as well')
        return self._progress_of(self.cluster.index)

    def report(self, position: WorkerProgress) -> None:
        """Notes where this worker stands."""
        self._store.write(**{f'worker{self.cluster.index}': json.dumps(dataclasses.asdict(position))})

    def _await(self, poll: Callable, what: str, should_stop: Callable[[], bool] = bool):
        chief = self.cluster.describe('worker', 0)
        seen = mentioned = time.monotonic()
        while not should_stop():
            value = poll()
            if value:
                return value
            now = time.monotonic()
            if is_reachable(self.cluster.ws_hosts[0]):
                seen = now
            elif now - seen > self._timeout_secs:
                raise DataError(f'{chief}, the chief, did not answer for {self._timeout_secs:g} s; {RESTART}')
            if now - mentioned > QUIET_SECS:
                mentioned = now + 3 * QUIET_SECS
                log.info('waiting for %s, the chief, %s', chief, what)
            time.sleep(POLL_SECS)
        return None


def _place(position: WorkerProgress) -> tuple[int, int]:
    return position.epoch, position.batch
