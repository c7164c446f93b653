"""The training loop: epochs of planned batches, checkpoints, validation.

The trainer depends on no model: a `TrainingTask` holds the functions that build and score one.
"""

import logging
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from utils.config import TrainConfig
from utils.errors import DataError
from utils.train.checkpoint import Checkpoints, TrainState
from utils.train.graph import TrainGraph, TrainingTask
from utils.train.history import History, Summaries, describe, with_indexes
from utils.train.profile import Profiler
from utils.train.signals import StopRequest
from utils.train.strategies import Runtime

log = logging.getLogger(__name__)


def _crossed(before: int, now: int, period: int) -> bool:
    """Returns whether a multiple of the period was passed; the updates of other workers can advance it by several."""
    return now // period > before // period


class LocalCoordinator:
    """Coordinator of a process that trains by itself, and the interface of one that has workers to coordinate."""

    def publish(self, paths: list[Path], fingerprint: str) -> None:
        """Publishes the files of the run that a worker needs, and the fingerprint of the training index."""

    def begin(self, shares: list, own: tuple[int, int]) -> None:
        """Starts training, from `shares` of a checkpoint or, if empty, all workers from the chief's (epoch, batch)."""

    def begin_epoch(self, epoch: int, plateau_scale: float) -> None:
        """Starts an epoch, with this factor on the learning rate."""

    def shares(self, own: tuple[int, int]) -> list:
        """Returns (epoch, batch) of each worker, of which `own` is the chief's; empty without workers."""
        return []

    def wait_for_others(self, should_stop: Callable[[], bool]) -> None:
        """Waits until all workers have done their shares of the last epoch."""

    def finish(self) -> None:
        """Ends the run."""


class Trainer:
    """Trains a task into a run directory, on this machine alone or as the chief of a cluster."""

    def __init__(
        self,
        task: TrainingTask,
        config: TrainConfig,
        runtime: Runtime,
        run_dir: str,
        coordinator: LocalCoordinator | None = None,
        profile_steps: int = 0,
        check_run_dir: Callable[[], None] = lambda: None,
    ):
        """Builds the graph.

        Args:
          task: data, loss and validation of the run.
          config: training options.
          runtime: distribution strategy and session configuration.
          run_dir: directory for checkpoints, history and summaries.
          coordinator: coordinator of the cluster's workers; None for training alone.
          profile_steps: number of steps to trace.
          check_run_dir: called before the run directory is written; see `lock_run`.
        """
        self._task, self._config, self._run_dir = task, config, run_dir
        self._runtime, self._coordinator = runtime, coordinator or LocalCoordinator()
        self._check_run_dir = check_run_dir
        self._checkpoints = Checkpoints(run_dir, config.keep_checkpoints, config.average_checkpoints)
        self._graph = TrainGraph(task, config, runtime, Profiler(run_dir, profile_steps))

    def run(self) -> int:
        """Trains until the epochs are done, dev stops improving, or a signal asks to stop.

        Returns:
          The exit status: 0, or 128 + the number of the signal.
        """
        self._checkpoints.clean()
        saved = self._checkpoints.newest_sound()
        with StopRequest() as self._stop:
            with self._graph.open(self._checkpoints.prefix(f'model-{saved.step}') if saved else None):
                self._state = saved or TrainState(
                    epoch=self._config.initial_epoch, plan=self._plan_identity(), has_learned=False
                )
                if not saved and self._task.transfer:
                    self._save_initial()
                self._resume()
                self._coordinator.begin(self._state.shares, (self._state.epoch, self._state.batch))
                self._history = History(self._run_dir, self._state.step, self._task.loss_unit)
                self._summaries = Summaries(self._run_dir, self._config.use_summary, self._state.step)
                try:
                    status = self._train()
                finally:
                    self._summaries.close()
            if not status:
                self._coordinator.finish()  # the servers leave: the session is closed before
        return status

    def _save_initial(self) -> None:
        """Saves the weights of another run as the checkpoint of step 0, from which a killed run resumes."""
        self._check_run_dir()
        self._state.validated = False
        self._checkpoints.save(self._graph.session, self._graph.saver, self._state)

    def _resume(self) -> None:
        state = self._state
        if state.step:
            log.info('resuming at step %d: epoch %d, batch %d', state.step, state.epoch, state.batch)
        if state.plan != self._plan_identity():
            if state.batch:
                log.info('the batch plan has changed: epoch %d starts over', state.epoch)
            self._begin_epoch(state.epoch)

    def _plan_identity(self) -> list:
        fields = [list(field) if isinstance(field, tuple) else field for field in self._config.plan_fields]
        parts = [self._runtime.num_replicas, self._runtime.num_shares]
        return fields + (parts if parts != [1, 1] else [])

    def _begin_epoch(self, epoch: int) -> None:
        state = self._state
        state.epoch, state.batch, state.shares, state.plan = epoch, 0, [], self._plan_identity()
        state.loss_sum = state.epoch_seconds = state.epoch_wait_seconds = 0.0
        state.loss_count = state.utterances = 0

    def _train(self) -> int:
        config, last = self._config, self._config.initial_epoch + self._config.epochs
        self._rescore_best()
        if not self._state.validated:
            self._validate()
        if self._state.epoch < last:
            epoch = self._state.epoch
            self._graph.try_worst_batch(self._task.plan_trial(epoch - config.initial_epoch), epoch)
        while self._state.epoch < last and not self._stopped_early():
            self._coordinator.begin_epoch(self._state.epoch, self._state.plateau_scale)
            if not self._run_epoch(is_last=self._state.epoch + 1 == last):
                self._save(validated=self._state.validated)
                number = self._stop.signal or signal.SIGTERM
                log.warning('stopped by signal %d; the same command resumes at step %d', number, self._state.step)
                return 128 + number
        if self._stopped_early():
            log.info('dev has not improved for %d epochs: early stop', config.early_stop)
        if not self._state.has_learned:
            raise DataError(
                f'{self._run_dir}: not one of {self._state.step} steps had a finite loss and gradient: nothing was '
                f'learned; lower -lr, or check the utterances named above'
            )
        self._average()
        return 0

    def _stopped_early(self) -> bool:
        return bool(self._config.early_stop) and self._state.stale_epochs >= self._config.early_stop

    def _run_epoch(self, is_last: bool) -> bool:
        """Trains on the rest of the epoch, saves and validates; returns False after a signal."""
        state, config = self._state, self._config
        batches = self._graph.share(self._task.plan(state.epoch - config.initial_epoch))
        self._graph.start(batches[state.batch :], state.epoch)
        done, total = (sum(map(len, part)) for part in (batches[: state.batch], batches))
        last_save = time.monotonic()
        with tqdm(initial=done, total=total, desc=f'epoch {state.epoch}', unit='utt', disable=None, leave=False) as bar:
            while state.batch < len(batches):
                before = state.step
                if self._run_step(len(batches), bar) or self._stop.signal:
                    return False
                if state.batch == len(batches):
                    break
                if config.validate_steps and _crossed(before, state.step, config.validate_steps):
                    self._save(validated=False)
                    self._validate()
                    last_save = time.monotonic()
                elif time.monotonic() - last_save >= config.checkpoint_secs:
                    self._save(validated=True)
                    last_save = time.monotonic()
        if is_last:
            self._coordinator.wait_for_others(lambda: bool(self._stop.signal))
            if self._stop.signal:
                return False
        self._begin_epoch(state.epoch + 1)
        self._save(validated=False)
        self._validate()
        return True

    def _run_step(self, num_batches: int, bar: tqdm) -> bool:
        """Runs a step; returns whether one of the processes that make the update together wants to stop."""
        state, before = self._state, self._state.step
        share, is_leaving = state.batch / num_batches, bool(self._stop.signal)
        result = self._graph.train_step(state.step, state.epoch, share, state.plateau_scale, is_leaving)
        losses = result.losses
        state.step, state.batch = int(result.number) + 1, state.batch + 1
        state.seconds, state.epoch_seconds = state.seconds + result.seconds, state.epoch_seconds + result.seconds
        state.epoch_wait_seconds += result.wait_secs
        state.utterances += len(losses)
        if result.is_finite:
            state.loss_sum, state.loss_count = state.loss_sum + float(losses.sum()), state.loss_count + len(losses)
            state.has_learned = True
        state.progress = {
            'train_loss': state.loss_sum / state.loss_count if state.loss_count else math.nan,
            'learning_rate': result.learning_rate,
            'seconds': round(state.seconds, 1),
            'utterances_per_sec': round(state.utterances / max(state.epoch_seconds, 1e-9), 2),
            'input_wait_share': round(state.epoch_wait_seconds / max(state.epoch_seconds, 1e-9), 4),
        }
        bar.update(len(losses))
        shown = {'loss': f'{state.progress["train_loss"]:.2f}', 'lr': f'{result.learning_rate:.1e}'}
        bar.set_postfix(shown, input_wait=f'{state.progress["input_wait_share"]:.1%}', refresh=False)
        if _crossed(before, state.step, self._config.summary_steps):
            self._summaries.add(
                state.step,
                train__loss=float(losses.mean()),
                train__learning_rate=result.learning_rate,
                train__gradient_norm=float(result.grad_norm),
                train__utterances_per_sec=len(losses) / result.seconds,
                train__input_wait_share=result.wait_secs / result.seconds,
            )
        return result.num_leaving > 0

    def _save(self, validated: bool) -> None:
        self._check_run_dir()
        self._state.validated = validated
        self._state.step = self._graph.read_step()  # other workers may have made updates
        self._state.shares = self._coordinator.shares((self._state.epoch, self._state.batch))
        self._checkpoints.save(self._graph.session, self._graph.saver, self._state)
        self._summaries.flush()

    def _validate(self) -> None:
        """Scores the newest checkpoint on dev; records the scores, and the checkpoint if it is the best."""
        state, name = self._state, f'model-{self._state.step}'
        scores, is_best = self._score(name)
        for image, path in scores.pop('images', {}).items():
            self._summaries.add_image(state.step, f'attention/{image}', path)
        if state.batch == 0 and state.step:
            state.stale_epochs = 0 if is_best else state.stale_epochs + 1
            if not is_best and state.stale_epochs % self._config.patience == 0:
                state.plateau_scale /= self._config.lr_decay
        epoch = state.epoch - 1 if state.batch == 0 else state.epoch
        numbers = with_indexes(scores)
        if state.step:
            self._history.add({'epoch': epoch, 'step': state.step, **state.progress, **numbers})
        self._summaries.add(state.step, **{f'dev__{key}': value for key, value in numbers.items()})
        state.validated = True
        self._checkpoints.note(state)
        when = f'epoch {epoch} step {state.step}' if state.step else 'before the first step'
        self._log(when, {**state.progress, **scores}, is_best)

    def _log(self, what: str, scores: dict, is_best: bool = False) -> None:
        """Logs scores in one line, and one for each dev index if there are several."""
        log.info('%s: %s', what, describe(scores, is_best))
        for name, part in scores.get('indexes', {}).items():
            log.info('%s, %s: %s', what, name, describe(part, False))

    def _score(self, name: str) -> tuple[dict, bool]:
        """Scores a checkpoint on dev, and records it if it is the best; returns the scores, and whether it is."""
        scores = self._task.validate(self._checkpoints.prefix(name))
        numbers = {key: value for key, value in scores.items() if not isinstance(value, dict)}
        self._check_run_dir()
        return scores, self._checkpoints.note_best(name, numbers, self._task.dev)

    def _rescore_best(self) -> None:
        """Scores the best checkpoint so far once more if that was on another dev set, or on an unknown one."""
        best = self._checkpoints.best()
        if best and best.get('dev') != self._task.dev:
            scores, _ = self._score(best['name'])
            self._log(f'the best so far, {best["name"]}, on this dev set', scores)
            if scores['error'] != best['error']:
                self._state.stale_epochs = 0  # they were counted on the other set

    def _average(self) -> None:
        """Scores the average of the last epochs' weights, and records it as the best checkpoint if it is."""
        name = self._checkpoints.average(self._config.average_checkpoints, self._graph.inference_variables)
        if name:
            scores, is_best = self._score(name)
            self._log('average of the last epochs', scores, is_best)
