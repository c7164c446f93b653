"""The training graph of one process: its input pipelines, its step, its variables and its session."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.config import TrainConfig
from utils.data.batching import worst_batch
from utils.errors import DataError
from utils.train.checkpoint_files import restore
from utils.train.ema import MovingAverages, averaged_in, make_saver, names_in_checkpoint
from utils.train.loss_scale import LOWEST, NAME
from utils.train.optimizer import learning_rate_at, make_optimizer
from utils.train.profile import Profiler
from utils.train.step import Seeds, StepLoss, broadcast, build_step
from utils.train.strategies import Runtime
from utils.train.transfer import Transfer

log = logging.getLogger(__name__)


class TrainingTask(NamedTuple):
    """The data, loss and validation of a run, for the trainer.

    Attributes:
      loss_fn: (batch, steps done, seed) -> `StepLoss`.
      make_pipeline: builds a pipeline in the default graph, with `batch`, `start(session, batches, epoch)`,
        `waited(since)` and `explain(error)`; see `utils.data.pipeline`.
      plan: epoch, counted from 0, -> the row numbers of each of its steps, which the replicas divide among themselves.
      frames: int `[utterances]`, frames of each utterance, to find the largest batch.
      name_row: row number -> the utterance's name in messages.
      validate: path of a checkpoint -> scores on dev: at least `error`, by which the best checkpoint is chosen;
        `images` holds files for TensorBoard by name, `indexes` the scores of each index by name, where there are
        several; all other entries are numbers.
      loss_unit: unit of the loss, for the figure.
      dev: fingerprint of the dev set; scores on different ones are not compared.
      plan_all: as `plan`, of all utterances that any epoch has; None: `plan` has them all.
      transfer: weights of another run to begin with, on the chief; None: random ones.
      frozen: variable scopes of the layers that stay still in the first `freeze_epochs` epochs.
    """

    loss_fn: Callable[..., StepLoss]
    make_pipeline: Callable
    plan: Callable[[int], list[np.ndarray]]
    frames: np.ndarray
    name_row: Callable[[int], str]
    validate: Callable[[str], dict]
    loss_unit: str = 'nats / utterance'
    dev: str = ''
    plan_all: Callable[[int], list[np.ndarray]] | None = None
    transfer: Transfer | None = None
    frozen: tuple[str, ...] = ()

    def plan_trial(self, epoch: int) -> list[np.ndarray]:
        """A plan with all utterances, whose largest batch is tried before the first step."""
        return (self.plan_all or self.plan)(max(epoch, 1))  # epoch 0 may be sorted by length


class StepResult(NamedTuple):
    """The values of one step."""

    number: int  # updates made before this one, by all workers
    losses: np.ndarray  # of each utterance of this process
    rows: np.ndarray  # their row numbers
    grad_norm: float  # global norm of the gradient before clipping
    is_finite: bool  # whether the update was made
    num_leaving: float  # above 0 if one of the processes that make the update together wants to stop
    learning_rate: float
    seconds: float  # duration of the step
    wait_secs: float  # part of it in which this process waited for its batch
    loss_scale: float = 1.0  # factor on the loss while its gradient was taken


class _ClusterSession(tf.Session):
    """A session that is not closed after an error: that could wait for a lost task."""

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            super().__exit__(kind, error, traceback)


class TrainGraph:
    """Graph and session in which a task is trained.

    Attributes:
      session: the session, after `open`.
      saver: saver of all variables.
      inference_variables: names of the variables that a trained model needs.
    """

    def __init__(self, task: TrainingTask, config: TrainConfig, runtime: Runtime, profiler: Profiler | None = None):
        """Builds the graph under the runtime's strategy; the profiler chooses the steps to trace."""
        self._task, self._config, self._runtime = task, config, runtime
        self._profiler = profiler or Profiler('', num_steps=0)
        self._bad_steps = 0
        # asynchronous workers may read the same step number, and must draw different dropout masks all the same
        first_replica = runtime.first_replica + runtime.share * runtime.local_replicas
        averages = MovingAverages(config.ema) if config.ema else None
        self._graph = tf.Graph()
        with self._graph.as_default(), runtime.strategy.scope():
            tf.set_random_seed(config.seed)
            self._pipelines = [task.make_pipeline() for _ in range(runtime.local_replicas)]
            self._learning_rate = tf.placeholder(tf.float32, [], 'learning_rate')
            self._leaving = tf.placeholder_with_default(0.0, [], 'leaving')
            self._steps = build_step(
                runtime.strategy,
                [pipeline.batch for pipeline in self._pipelines],
                task.loss_fn,
                lambda rate: make_optimizer(config.optimizer, rate, config.momentum, config.beta2),
                self._learning_rate,
                self._leaving,
                config.grad_clip,
                Seeds(config.seed, first_replica, runtime.num_replicas * runtime.num_shares),
                task.frozen,
                scales_loss=config.dtype == 'float16',
                weight_decay=config.weight_decay,
                averages=averages,
            )
            self._initializer, self._variables = tf.global_variables_initializer(), tf.global_variables()
            self._saved = names_in_checkpoint(self._variables, averages.averaged if averages else ())
            self.saver = make_saver(self._saved)
            self._begin_averages = averages.begin(runtime.strategy) if averages else None
            self._global_step = tf.train.get_global_step()
            self._is_one_of_several = runtime.num_replicas > runtime.local_replicas
            if self._is_one_of_several:
                self._broadcast = broadcast(runtime.strategy, self._variables)
            moving = [name for name in self._saved if name.rpartition('/')[2].startswith('moving_')]
            self.inference_variables = [v.op.name for v in tf.trainable_variables()] + moving

    def open(self, checkpoint_path: str | None) -> tf.Session:
        """Opens the session with the variables of a checkpoint or, without a path, with new ones.

        With all-reduce all processes must call this at the same time, and get the chief's variables; with parameter
        servers a worker uses the variables that the chief has initialised there.
        """
        runtime = self._runtime
        session_class = _ClusterSession if runtime.target else tf.Session
        self.session = session_class(runtime.target, self._graph, runtime.cluster_config or runtime.session_config)
        if self._is_one_of_several or (runtime.is_chief and not checkpoint_path):
            self.session.run(self._initializer)
        if runtime.is_chief and checkpoint_path:
            self._restore(checkpoint_path)
        elif runtime.is_chief:
            if self._task.transfer:
                self._task.transfer.load(self.session, runtime.strategy, self._variables)
            if self._begin_averages:
                self.session.run(self._begin_averages)
        if self._is_one_of_several:
            self.session.run(self._broadcast)
        return self.session

    def _restore(self, path: str) -> None:
        """Restores a checkpoint; a loss scale that it lacks begins anew, averages that it lacks with its weights."""
        names = tf.train.load_checkpoint(path).get_variable_to_shape_map().keys()
        wanted = names_in_checkpoint(self._variables, averaged_in(names))
        wanted = {name: each for name, each in wanted.items() if name in names or not name.startswith(NAME)}
        if wanted.keys() == self._saved.keys():
            restore(self.session, self.saver, path)
            return
        self.session.run(self._initializer)
        with self._graph.as_default():
            restore(self.session, make_saver(wanted), path)
        if self._begin_averages and not averaged_in(names):
            self.session.run(self._begin_averages)

    def read_step(self) -> int:
        """Returns the number of updates made so far, by all workers."""
        return int(self.session.run(self._global_step))

    def share(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the batches of an epoch in whose updates this process takes part."""
        return batches[self._runtime.share :: self._runtime.num_shares]

    def start(self, batches: list[np.ndarray], epoch: int) -> None:
        """Starts the input pipelines on a list of batches."""
        # neighbours in a batch are of similar length: dealing them out in turn balances the replicas
        for i, pipeline in enumerate(self._pipelines, self._runtime.first_replica):
            pipeline.start(self.session, [rows[i :: self._runtime.num_replicas] for rows in batches], epoch)

    def try_worst_batch(self, batches: list[np.ndarray], epoch: int) -> None:
        """Runs the largest batch up to its gradient, so that a lack of memory shows at once."""
        if batches:
            self.start([worst_batch(batches, self._task.frames)], epoch)
            self._run(self._steps[self._is_frozen(epoch)].warm_up, {})

    def train_step(
        self, step: int, epoch: int, epoch_share: float, plateau_scale: float, is_leaving: bool
    ) -> StepResult:
        """Runs one training step at the scheduled learning rate; shared by chief and workers.

        Args:
          step: updates made so far.
          epoch: number of the epoch.
          epoch_share: fraction of the epoch that is done, 0 to 1.
          plateau_scale: factor on the learning rate, from the plateau schedule.
          is_leaving: whether this process wants to stop.

        Raises:
          DataError: too many steps in a row had a loss or gradient that is not finite.
        """
        learning_rate = learning_rate_at(self._config, step, epoch, epoch_share, plateau_scale)
        trace = self._profiler.begin_step()
        result = self.run_step(learning_rate, is_leaving, trace, self._is_frozen(epoch))
        if trace is not None:
            self._profiler.end_step(int(result.number) + 1)
        if result.is_finite:
            self._bad_steps = 0
        else:
            self._note_bad_step(result)
        return result

    def _is_frozen(self, epoch: int) -> bool:
        return bool(self._task.frozen) and epoch < self._config.initial_epoch + self._config.freeze_epochs

    def run_step(
        self,
        learning_rate: float,
        is_leaving: bool = False,
        trace: tf.RunMetadata | None = None,
        is_frozen: bool = False,
    ) -> StepResult:
        """Trains on the next batch.

        Args:
          learning_rate: learning rate of this step.
          is_leaving: whether this process wants to stop; all processes that make the update learn of it.
          trace: record to fill with the timing of every operation, or None.
          is_frozen: whether the frozen layers stay still.
        """
        step = self._steps[is_frozen]
        fetches = [step.number, step.losses, step.rows, step.grad_norm, step.is_finite, step.num_leaving]
        scale = [] if step.loss_scale is None else [step.loss_scale]
        feed = {self._learning_rate: learning_rate, self._leaving: float(is_leaving)}
        begun = time.perf_counter()
        values = self._run([*fetches, *scale, step.update], feed, trace)[:-1]
        seconds = time.perf_counter() - begun
        wait_secs = max(pipeline.waited(begun) for pipeline in self._pipelines)
        return StepResult._make([*values[:6], learning_rate, seconds, wait_secs, *(values[6:] or [1.0])])

    def _note_bad_step(self, result: StepResult) -> None:
        if result.loss_scale > LOWEST and np.isfinite(result.losses).all():
            log.info('step %d: the gradient overflows float16 at a loss scale of %g; no update, the scale is halved',
                     result.number + 1, result.loss_scale)
            return
        self._bad_steps += 1
        bad = ~np.isfinite(result.losses)
        names = ', '.join(self._task.name_row(row) for row in (result.rows[bad] if bad.any() else result.rows))
        what = 'loss' if bad.any() else 'gradient'
        log.warning('step %d: the %s is not finite; no update. Utterances: %s', result.number + 1, what, names)
        if self._bad_steps >= self._config.max_bad_steps:
            raise DataError(
                f'{self._bad_steps} steps in a row without a finite {what}; lower -lr or -gc, or check the '
                f'utterances named above; the newest checkpoint is kept'
            )

    def _run(self, fetches, feed: dict, trace: tf.RunMetadata | None = None):
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE) if trace is not None else None
        try:
            return self.session.run(fetches, feed, options, trace)
        except tf.errors.ResourceExhaustedError as error:
            reason = error.message.splitlines()[0]
            raise DataError(f'out of memory ({reason}); give a smaller -b or --frames_per_batch') from None
        except tf.errors.OpError as error:
            for pipeline in self._pipelines:
                explained = pipeline.explain(error)
                if explained is not error:
                    raise explained from None
            raise
