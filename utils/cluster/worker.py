"""The training loop of every worker but the chief: its share of the plan, no checkpoint, no validation, no file."""

import dataclasses
import logging

from utils.cluster.coordinator import DONE, LEFT, ChiefState, ClusterCoordinator, WorkerProgress
from utils.train.graph import TrainGraph, TrainingTask
from utils.train.signals import StopRequest

log = logging.getLogger(__name__)


class WorkerLoop:
    """Trains what the chief trains."""

    def __init__(self, task: TrainingTask, config, runtime, coordinator: ClusterCoordinator):
        """Builds the graph; arguments as in `Trainer`."""
        self._task, self._config, self._coordinator = task, config, coordinator
        self._is_synchronous = not coordinator.cluster.ps_hosts
        self._graph = TrainGraph(task, config, runtime)

    def run(self) -> int:
        """Trains until the chief says that the run is complete, or a signal asks to stop.

        Returns:
          0, or 128 + the number of the signal.
        """
        with StopRequest() as self._stop, self._graph.open(None):
            self._chief_state = self._coordinator.await_chief_state(
                lambda state: not state.finished, 'to ready the variables', lambda: self._stop.signal
            )
            if self._chief_state:
                self._take_progress()
                self._train()
        if self._stop.signal:
            log.warning('stopped by signal %d; the same command joins again', self._stop.signal)
            return 128 + self._stop.signal
        return 0

    def _take_progress(self) -> None:
        self._progress = dataclasses.replace(self._coordinator.own_progress(self._chief_state), state='training')
        self._step = self._graph.read_step()
        log.info('going on from epoch %d, batch %d of this share', self._progress.epoch, self._progress.batch)

    def _train(self) -> None:
        first, last = self._config.initial_epoch, self._config.initial_epoch + self._config.epochs
        epoch = self._progress.epoch
        if epoch < last:
            self._graph.try_worst_batch(self._graph.share(self._task.plan(max(epoch - first, 1))), epoch)
        while not self._stop.signal and not self._chief_state.finished:
            if self._progress.epoch < last:
                self._run_epoch(self._graph.share(self._task.plan(self._progress.epoch - first)))
            else:
                self._report(DONE)
                self._await(lambda state: state.finished, 'to end the run')
        if not self._stop.signal:
            self._report(LEFT)

    def _run_epoch(self, batches: list) -> None:
        """Goes through what is left of an epoch, until a signal comes or the chief says otherwise."""
        epoch, generation = self._progress.epoch, self._progress.generation
        # asynchronous workers do not wait while the chief validates, but no epoch is to be made of another's updates
        begun = epoch if self._is_synchronous else epoch - 1
        if not self._await(lambda state: state.epoch >= begun, f'to begin epoch {begun}'):
            return
        self._graph.start(batches[self._progress.batch :], epoch)
        while self._progress.batch < len(batches):
            share, is_leaving = self._progress.batch / len(batches), bool(self._stop.signal)
            result = self._graph.train_step(self._step, epoch, share, self._chief_state.plateau_scale, is_leaving)
            self._step, self._progress.batch = int(result.number) + 1, self._progress.batch + 1
            if not self._is_synchronous:
                self._report()
                self._chief_state = self._coordinator.chief_state() or self._chief_state
            if self._chief_state.generation != generation:
                log.info('the chief has started again')
                self._take_progress()
                return
            if self._stop.signal or self._chief_state.finished:
                return
            if result.num_leaving:
                self._stop.signal = self._stop.signal or 15
                return
        self._progress = WorkerProgress(generation, epoch + 1, 0)

    def _await(self, is_new, what: str) -> ChiefState | None:
        """The chief's next orders; None where there is nothing more to do in this epoch."""
        generation = self._progress.generation
        state = self._coordinator.await_chief_state(
            lambda state: is_new(state) or state.finished or state.generation != generation,
            what,
            lambda: self._stop.signal,
        )
        if not state:
            return None
        self._chief_state = state
        if state.generation != generation:
            log.info('the chief has started again')
            self._take_progress()
            return None
        return None if state.finished else state

    def _report(self, state: str = 'training') -> None:
        self._coordinator.report(dataclasses.replace(self._progress, state=state))
