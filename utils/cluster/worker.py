"""Training loop of the workers other than the chief: their share of the batch plan, without validation or files."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from utils.cluster.coordinator import DONE, LEFT, TRAINING, ChiefState, ClusterCoordinator, WorkerProgress
from utils.config import TrainConfig
from utils.train.graph import TrainGraph, TrainingTask
from utils.train.signals import StopRequest
from utils.train.strategies import Runtime

log = logging.getLogger(__name__)


class WorkerLoop:
    """Trains a worker's share of the chief's run."""

    def __init__(self, task: TrainingTask, config: TrainConfig, runtime: Runtime, coordinator: ClusterCoordinator):
        """Builds the graph; arguments as in `Trainer`."""
        self._task, self._config, self._coordinator = task, config, coordinator
        self._is_synchronous = not coordinator.cluster.ps_hosts
        self._graph = TrainGraph(task, config, runtime)

    def run(self) -> int:
        """Trains until the chief announces that the run is complete, or a signal asks to stop.

        Returns:
          The exit status: 0, or 128 + the number of the signal.
        """
        with StopRequest() as self._stop:
            with self._graph.open(None):
                state = self._coordinator.await_chief_state(
                    lambda state: not state.finished, 'to initialise the variables', self._is_stopping
                )
                if state:
                    self._resume(state)
                    self._train()
            # only now may the servers leave, which the session needs until it is closed
            if not self._stop.signal:
                with contextlib.suppress(tf.errors.OpError):  # the chief may be gone before it has answered
                    self._report(LEFT)
        if self._stop.signal:
            log.warning('stopped by signal %d; the same command joins again', self._stop.signal)
            return 128 + self._stop.signal
        return 0

    def _is_stopping(self) -> bool:
        return bool(self._stop.signal)

    def _resume(self, state: ChiefState) -> None:
        self._chief_state = state
        self._progress = dataclasses.replace(self._coordinator.own_progress(state), state=TRAINING)
        self._step = self._graph.read_step()
        log.info('resuming at epoch %d, batch %d of this share', self._progress.epoch, self._progress.batch)

    def _train(self) -> None:
        first, last = self._config.initial_epoch, self._config.initial_epoch + self._config.epochs
        epoch = self._progress.epoch
        if epoch < last:
            self._graph.try_worst_batch(self._graph.share(self._task.plan_trial(epoch - first)), epoch)
        while not self._stop.signal and not self._chief_state.finished:
            if self._progress.epoch < last:
                self._run_epoch(self._graph.share(self._task.plan(self._progress.epoch - first)))
            else:
                self._report(DONE)
                self._await(lambda state: state.finished, 'to end the run')

    def _run_epoch(self, batches: list) -> None:
        """Trains on the rest of an epoch, until a signal, the end of the run, or a restart of the chief."""
        epoch, generation = self._progress.epoch, self._progress.generation
        # asynchronous workers do not wait while the chief validates, but may be ahead of it by one epoch only
        begun = epoch if self._is_synchronous else epoch - 1
        if not self._await(lambda state: state.epoch >= begun, f'to begin epoch {begun}'):
            return
        self._graph.start(batches[self._progress.batch :], epoch)
        while self._progress.batch < len(batches):
            done = self._progress.batch / len(batches)
            result = self._graph.train_step(
                self._step, epoch, done, self._chief_state.plateau_scale, self._is_stopping()
            )
            self._step, self._progress.batch = int(result.number) + 1, self._progress.batch + 1
            if not self._is_synchronous:
                self._report(TRAINING)
                self._chief_state = self._coordinator.chief_state() or self._chief_state
            if self._follow_restart(generation) or self._stop.signal or self._chief_state.finished:
                return
            if result.num_leaving:
                self._stop.signal = self._stop.signal or 15
                return
        self._progress = WorkerProgress(generation, epoch + 1, 0)

    def _follow_restart(self, generation: str) -> bool:
        """Resumes from the chief's checkpoint if the chief has restarted since a generation; returns whether it has."""
        if self._chief_state.generation == generation:
            return False
        log.info('the chief has restarted')
        self._resume(self._chief_state)
        return True

    def _await(self, is_awaited: Callable[[ChiefState], bool], what: str) -> bool:
        """Waits for a state of the chief; returns False if this epoch ends here: stopped, finished or restarted."""
        generation = self._progress.generation
        state = self._coordinator.await_chief_state(
            lambda state: is_awaited(state) or state.finished or state.generation != generation,
            what,
            self._is_stopping,
        )
        if not state:
            return False
        self._chief_state = state
        return not self._follow_restart(generation) and not state.finished

    def _report(self, state: str) -> None:
        self._coordinator.report(dataclasses.replace(self._progress, state=state))
