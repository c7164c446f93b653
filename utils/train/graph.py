"""The training graph of one process: its batches, its step, its variables."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.data.batching import worst_batch
from utils.errors import DataError
from utils.train.optimizer import make_optimizer
from utils.train.replicas import broadcast
from utils.train.step import Seeds, build_step


class Task(NamedTuple):
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
      wait_secs: of the step's time, what this process waited for its batch.
    """

    number: int
    losses: np.ndarray
    rows: np.ndarray
    grad_norm: float
    is_finite: bool
    num_leaving: float
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

    def __init__(self, task: Task, config, runtime):
        """Builds the graph under the runtime's strategy; config is a `TrainConfig`."""
        self._task, self._runtime = task, runtime
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
        return StepResult(*values, max(pipeline.waited(begun) for pipeline in self._pipelines))

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
