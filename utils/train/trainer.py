"""The training loop: epochs of planned batches, checkpoints, validation. It knows no model: it is handed functions."""

import dataclasses
import logging
import time

import numpy as np
from tqdm import tqdm

from utils.errors import DataError
from utils.train.checkpoint import Checkpoints, TrainState
from utils.train.graph import Task, TrainGraph
from utils.train.history import History, Summaries, describe
from utils.train.optimizer import learning_rate_at
from utils.train.profile import Profiler
from utils.train.signals import StopRequest

log = logging.getLogger(__name__)

BEST = {True: ' (best)', False: ''}


class Trainer:
    """Trains a task under a strategy into a run directory."""

    def __init__(self, task: Task, config, runtime, run_dir: str, profile_steps: int = 0):
        """Builds the graph.

        Args:
          task: what to train.
          config: a `TrainConfig`.
          runtime: strategy and session settings.
          run_dir: where checkpoints, history and summaries go.
          profile_steps: steps to trace.
        """
        self._task, self._config, self._run_dir = task, config, run_dir
        self._checkpoints = Checkpoints(run_dir, config.keep_checkpoints, config.average_checkpoints)
        self._graph = TrainGraph(task, config, runtime)
        self._profiler = Profiler(run_dir, profile_steps)
        self._bad_steps = 0

    def run(self) -> int:
        """Trains until the epochs are done, dev stops improving, or a signal asks to stop.

        Returns:
          0, or 128 + the number of the signal.
        """
        self._checkpoints.clean()
        steps = self._checkpoints.steps()
        with StopRequest() as self._stop, self._graph.open(self._checkpoints.newest()):
            self._state = self._checkpoints.state(steps[-1]) if steps else self._first_state()
            self._go_on()
            self._history = History(self._run_dir, self._state.step)
            self._summaries = Summaries(self._run_dir, self._config.use_summary, self._state.step)
            try:
                return self._train()
            finally:
                self._summaries.close()

    def _first_state(self) -> TrainState:
        return TrainState(epoch=self._config.initial_epoch, plan=self._plan_identity())

    def _go_on(self) -> None:
        state = self._state
        if state.step:
            log.info('going on from step %d: epoch %d, batch %d', state.step, state.epoch, state.batch)
        if state.plan != self._plan_identity():
            if state.batch:
                log.info('the batches are cut anew: epoch %d starts over', state.epoch)
            self._begin_epoch(state.epoch)

    def _plan_identity(self) -> list:
        return [list(field) if isinstance(field, tuple) else field for field in self._config.plan_fields]

    def _begin_epoch(self, epoch: int) -> None:
        self._state = dataclasses.replace(
            self._state,
            epoch=epoch,
            batch=0,
            loss_sum=0.0,
            loss_count=0,
            utterances=0,
            epoch_seconds=0.0,
            epoch_wait_seconds=0.0,
            plan=self._plan_identity(),
        )

    def _train(self) -> int:
        config, last = self._config, self._config.initial_epoch + self._config.epochs
        if not self._state.validated:
            self._validate()
        if self._state.epoch < last:
            epoch = self._state.epoch
            self._graph.try_worst_batch(self._task.plan(max(epoch - config.initial_epoch, 1)), epoch)
        while self._state.epoch < last and not self._stopped_early():
            if not self._run_epoch():
                self._save(validated=self._state.validated)
                reached = self._stop.signal, self._state.step
                log.warning('stopped by signal %d; the same command goes on from step %d', *reached)
                return 128 + self._stop.signal
        if self._stopped_early():
            log.info('dev has not improved for %d epochs: training ends', config.early_stop)
        self._average()
        return 0

    def _stopped_early(self) -> bool:
        return bool(self._config.early_stop) and self._state.stale_epochs >= self._config.early_stop

    def _run_epoch(self) -> bool:
        """Goes through what is left of the epoch; False when a signal came."""
        state, config = self._state, self._config
        batches = self._task.plan(state.epoch - config.initial_epoch)
        self._graph.start(batches[state.batch :], state.epoch)
        done, total = (sum(map(len, part)) for part in (batches[: state.batch], batches))
        last_save = time.monotonic()
        with tqdm(initial=done, total=total, desc=f'epoch {state.epoch}', unit='utt', disable=None, leave=False) as bar:
            while state.batch < len(batches):
                self._run_step(len(batches), bar)
                if self._stop.signal:
                    return False
                if state.batch == len(batches):
                    break
                if config.validate_steps and state.step % config.validate_steps == 0:
                    self._save(validated=False)
                    self._validate()
                    last_save = time.monotonic()
                elif time.monotonic() - last_save >= config.checkpoint_secs:
                    self._save(validated=True)
                    last_save = time.monotonic()
        self._begin_epoch(state.epoch + 1)
        self._save(validated=False)
        self._validate()
        return True

    def _run_step(self, num_batches: int, bar) -> None:
        state, config = self._state, self._config
        rate = learning_rate_at(config, state.step, state.epoch, state.batch / num_batches, state.plateau_scale)
        losses, rows, norm, is_finite, wait_secs, elapsed = self._timed_step(rate)
        state.step, state.batch = state.step + 1, state.batch + 1
        state.epoch_wait_seconds += wait_secs
        state.seconds, state.epoch_seconds = state.seconds + elapsed, state.epoch_seconds + elapsed
        state.utterances += len(losses)
        if is_finite:
            self._bad_steps = 0
            state.loss_sum, state.loss_count = state.loss_sum + float(losses.sum()), state.loss_count + len(losses)
        else:
            self._report_bad_step(losses, rows)
        state.progress = {
            'train_loss': state.loss_sum / max(state.loss_count, 1),
            'learning_rate': rate,
            'seconds': round(state.seconds, 1),
            'utterances_per_sec': round(state.utterances / max(state.epoch_seconds, 1e-9), 2),
            'input_wait_share': round(state.epoch_wait_seconds / max(state.epoch_seconds, 1e-9), 4),
        }
        bar.update(len(losses))
        shown = {'loss': f'{state.progress["train_loss"]:.2f}', 'lr': f'{rate:.1e}'}
        bar.set_postfix(shown, input_wait=f'{state.progress["input_wait_share"]:.1%}', refresh=False)
        if state.step % config.summary_steps == 0:
            self._summaries.add(
                state.step,
                train__loss=float(losses.mean()),
                train__learning_rate=rate,
                train__gradient_norm=float(norm),
                train__utterances_per_sec=len(losses) / elapsed,
                train__input_wait_share=wait_secs / elapsed,
            )

    def _timed_step(self, rate: float) -> tuple:
        """Trains on the next batch: the step's result and the seconds it took."""
        trace = self._profiler.begin_step()
        start = time.monotonic()
        result = self._graph.run_step(rate, trace) if trace else self._graph.run_step(rate)
        elapsed = time.monotonic() - start
        if trace and (table := self._profiler.end_step(self._state.step + 1)):
            log.info('the costliest operations are listed in %s, traces lie beside it', table)
        return *result, elapsed

    def _report_bad_step(self, losses, rows) -> None:
        self._bad_steps += 1
        bad = ~np.isfinite(losses)
        named = ', '.join(self._task.name_row(row) for row in (rows[bad] if bad.any() else rows))
        what = 'loss' if bad.any() else 'gradient'
        log.warning('step %d: the %s is not finite; no update. Utterances: %s', self._state.step, what, named)
        if self._bad_steps >= self._config.max_bad_steps:
            raise DataError(
                f'{self._bad_steps} steps in a row without a finite {what}; lower -lr or -gc, or look at the '
                f'utterances named above; the checkpoint of step {max(self._checkpoints.steps(), default=0)} is kept'
            )

    def _save(self, validated: bool) -> None:
        self._state.validated = validated
        self._checkpoints.save(self._graph.session, self._graph.saver, self._state)
        self._summaries.flush()

    def _validate(self) -> None:
        """Scores the checkpoint just saved; notes the outcome, and whether it is the best."""
        state, name = self._state, f'model-{self._state.step}'
        scores = self._task.validate(self._checkpoints.prefix(name))
        is_best = self._checkpoints.note_best(name, scores)
        if state.batch == 0:
            state.stale_epochs = 0 if is_best else state.stale_epochs + 1
            if not is_best and state.stale_epochs % self._config.patience == 0:
                state.plateau_scale /= self._config.lr_decay
        epoch = state.epoch - 1 if state.batch == 0 else state.epoch
        self._history.add({'epoch': epoch, 'step': state.step, **state.progress, **scores})
        self._summaries.add(state.step, **{f'dev__{key}': value for key, value in scores.items()})
        state.validated = True
        self._checkpoints.note(state)
        log.info('epoch %d step %d: %s%s', epoch, state.step, describe({**state.progress, **scores}), BEST[is_best])

    def _average(self) -> None:
        """Scores the average of the last epochs' weights, and takes it where it is the best."""
        name = self._checkpoints.average(self._config.average_checkpoints, self._graph.inference_variables)
        if name:
            scores = self._task.validate(self._checkpoints.prefix(name))
            is_best = self._checkpoints.note_best(name, scores)
            log.info('average of the last epochs: %s%s', describe(scores), BEST[is_best])
