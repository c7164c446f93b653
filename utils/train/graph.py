"""The training graph of one process: its batches, its step, its variables."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.data.batching import worst_batch
from utils.errors import DataError
from utils.train.optimizer import learning_rate_at, make_optimizer
from utils.train.profile import Profiler
from utils.train.step import Seeds, broadcast, build_step

log = logging.getLogger(__name__)


class TrainingTask(NamedTuple):
    """What is trained.

    Attributes:
      loss_fn: from (batch, steps done, seed) to a `StepLoss`.
      make_pipeline: builds in the default graph a pipeline with `batch`, `start(session, batches, epoch)`,
        `waited(since)` and `explain(error)`; see `utils.data.pipeline`.
      plan: from an epoch, counted from 0, to its steps: row numbers, which the replicas share out among themselves.
      frames: int `[utterances]`, to find the largest batch.
      name_row: from a row number to a name for messages.
      validate: from the path of a checkpoint to what dev says: at least `error`, by which the best is chosen; `images`
        are files for TensorBoard, by name, the rest numbers.
      loss_unit: for the figure.
    """

    loss_fn: Callable
    make_pipeline: Callable
    plan: Callable[[int], list[np.ndarray]]
    frames: np.ndarray
    name_row: Callable[[int], str]
    validate: Callable[[str], dict]
    loss_unit: str = 'nats / utterance'


class StepResult(NamedTuple):
    """What one step came to.

    Attributes:
      number: updates made before it, by whomever.
      losses, rows: of each utterance of this process.
      grad_norm: before clipping.
      is_finite: whether the update was made.
      num_leaving: above 0 where one of the processes that step together wants to stop.
      learning_rate: of the step.
      seconds: that the step took.
      wait_secs: of these, what this process waited for its batch.
    """

    number: int
    losses: np.ndarray
    rows: np.ndarray
    grad_norm: float
    is_finite: bool
    num_leaving: float
    learning_rate: float
    seconds: float
    wait_secs: float


def _seeds(seed: int, runtime) -> Seeds:
    # asynchronous workers may see the same number of updates, and are to drop different units all the same
    first = runtime.first_replica + runtime.share * runtime.local_replicas
    return Seeds(seed, first, runtime.num_replicas * runtime.num_shares)


class TrainGraph:
    """Graph and session in which a task is trained.

    Attributes:
      session: open from `open` on.
      saver: of all variables.
      inference_variables: names of those that a trained model needs.
    """

    def __init__(self, task: TrainingTask, config, runtime, profiler: Profiler | None = None):
        """Builds the graph under the runtime's strategy; config is a `TrainConfig`, profiler chooses steps to trace."""
        self._task, self._config, self._runtime, self._profiler = task, config, runtime, profiler
        self._bad_steps = 0
        self._graph = tf.Graph()
        with self._graph.as_default(), runtime.strategy.scope():
            tf.set_random_seed(config.seed)
            self._pipelines = [task.make_pipeline() for _ in range(runtime.local_replicas)]
            self._learning_rate = tf.placeholder(tf.float32, [], 'learning_rate')
            self._leaving = tf.placeholder_with_default(0.0, [], 'leaving')
            self._step = build_step(
                runtime.strategy,
                [pipeline.batch for pipeline in self._pipelines],
                task.loss_fn,
                lambda rate: make_optimizer(config.optimizer, rate, config.momentum, config.beta2),
                self._learning_rate,
                self._leaving,
                config.grad_clip,
                _seeds(config.seed, runtime),
            )
            self.saver = tf.train.Saver(max_to_keep=0)
            self._initializer = tf.global_variables_initializer()
            self._global_step = tf.train.get_global_step()
            self._is_one_of_several = runtime.num_replicas > runtime.local_replicas
            if self._is_one_of_several:
                self._broadcast = broadcast(runtime.strategy, tf.global_variables())
            moving = [v for v in tf.global_variables() if 'moving_' in v.op.name]
            self.inference_variables = [v.op.name for v in tf.trainable_variables() + moving]

    def open(self, checkpoint_path: str | None) -> tf.Session:
        """Opens the session, with the variables of a checkpoint or, without one, with new ones.

        Where processes all-reduce, all of them open together and get the chief's variables; one that shares parameter
        servers with the chief finds them there.
        """
        runtime = self._runtime
        self.session = tf.Session(runtime.target, self._graph, runtime.cluster_config or runtime.session_config)
        if self._is_one_of_several or (runtime.is_chief and not checkpoint_path):
            self.session.run(self._initializer)
        if runtime.is_chief and checkpoint_path:
            with self._graph.as_default():
                self.saver.restore(self.session, checkpoint_path)
        if self._is_one_of_several:
            self.session.run(self._broadcast)
        return self.session

    def read_step(self) -> int:
        """Updates made so far, by whomever."""
        return int(self.session.run(self._global_step))

    def share(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Those of an epoch's updates that this process makes, alone or together with others."""
        return batches[self._runtime.share :: self._runtime.num_shares]

    def start(self, batches: list[np.ndarray], epoch: int) -> None:
        """Makes these batches the next ones."""
        # neighbours in a batch are of like length, so dealing them out balances the replicas
        for i, pipeline in enumerate(self._pipelines, self._runtime.first_replica):
            pipeline.start(self.session, [rows[i :: self._runtime.num_replicas] for rows in batches], epoch)

    def try_worst_batch(self, batches: list[np.ndarray], epoch: int) -> None:
        """Runs the largest batch up to its gradient, so that memory that does not suffice shows at once."""
        if batches:
            self.start([worst_batch(batches, self._task.frames)], epoch)
            self._run(self._step.warm_up, {})

    def train_step(
        self, step: int, epoch: int, epoch_share: float, plateau_scale: float, is_leaving: bool
    ) -> StepResult:
        """Trains on the next batch at the learning rate that the configuration gives.

        Args:
          step: updates made so far.
          epoch: number of the epoch.
          epoch_share: how much of it is done, 0 to 1.
          plateau_scale: of the learning rate.
          is_leaving: whether this process wants to stop.

        Raises:
          DataError: too many steps in a row were not finite.
        """
        learning_rate = learning_rate_at(self._config, step, epoch, epoch_share, plateau_scale)
        trace = self._profiler.begin_step() if self._profiler else None
        result = self.run_step(learning_rate, is_leaving, trace)
        if trace is not None:
            self._profiler.end_step(int(result.number) + 1)
        if result.is_finite:
            self._bad_steps = 0
        else:
            self._report(result)
        return result

    def run_step(
        self, learning_rate: float, is_leaving: bool = False, trace: tf.RunMetadata | None = None
    ) -> StepResult:
        """Trains on the next batch.

        Args:
          learning_rate: of this step.
          is_leaving: tells those that step together with this process.
          trace: where it is given, filled with what ran when.
        """
        step = self._step
        fetches = [step.number, step.losses, step.rows, step.grad_norm, step.is_finite, step.num_leaving]
        feed = {self._learning_rate: learning_rate, self._leaving: float(is_leaving)}
        begun = time.perf_counter()
        *values, _ = self._run([*fetches, step.update], feed, trace)
        seconds = time.perf_counter() - begun
        wait_secs = max(pipeline.waited(begun) for pipeline in self._pipelines)
        return StepResult(*values, learning_rate, seconds, wait_secs)

    def _report(self, result: StepResult) -> None:
        self._bad_steps += 1
        bad = ~np.isfinite(result.losses)
        named = ', '.join(self._task.name_row(row) for row in (result.rows[bad] if bad.any() else result.rows))
        what = 'loss' if bad.any() else 'gradient'
        log.warning('step %d: the %s is not finite; no update. Utterances: %s', result.number + 1, what, named)
        if self._bad_steps >= self._config.max_bad_steps:
            raise DataError(
                f'{self._bad_steps} steps in a row without a finite {what}; lower -lr or -gc, or look at the '
                f'utterances named above; the newest checkpoint is kept'
            )

    def _run(self, fetches, feed, trace=None):
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
