"""The training graph of one process: its batches, its step, its variables."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.data.batching import worst_batch
from utils.errors import DataError
from utils.train.optimizer import make_optimizer
from utils.train.step import build_step


class Task(NamedTuple):
    """What is trained.

    Attributes:
      loss_fn: from (batch, steps done, seed) to a `StepLoss`.
      make_pipeline: builds in the default graph a pipeline with `batch`, `wait_secs`, `explain`, and
        `start(session, batches, epoch)`.
      plan: from an epoch, counted from 0, to its steps: row numbers, which the replicas share out among themselves.
      frames: int `[utterances]`, to find the largest batch.
      name_row: from a row number to a name for messages.
      validate: from the path of a checkpoint to what dev says: at least `error`, by which the best is chosen.
    """

    loss_fn: Callable
    make_pipeline: Callable
    plan: Callable[[int], list[np.ndarray]]
    frames: np.ndarray
    name_row: Callable[[int], str]
    validate: Callable[[str], dict]


class StepResult(NamedTuple):
    """What one step came to.

    Attributes:
      losses, rows: of each utterance.
      grad_norm: before clipping.
      is_finite: whether the update was made.
      wait_secs: of the step's time, what it waited for its batch.
    """

    losses: np.ndarray
    rows: np.ndarray
    grad_norm: float
    is_finite: bool
    wait_secs: float


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
            self._pipelines = [task.make_pipeline() for _ in range(runtime.num_replicas)]
            self._learning_rate = tf.placeholder(tf.float32, [], 'learning_rate')
            self._step = build_step(
                runtime.strategy,
                [pipeline.batch for pipeline in self._pipelines],
                task.loss_fn,
                lambda rate: make_optimizer(config.optimizer, rate, config.momentum, config.beta2),
                self._learning_rate,
                config.grad_clip,
                config.seed,
            )
            self._wait_secs = tf.reduce_max(tf.stack([pipeline.wait_secs for pipeline in self._pipelines]))
            self.saver = tf.train.Saver(max_to_keep=0)
            self._initializer = tf.global_variables_initializer()
            moving = [v for v in tf.global_variables() if 'moving_' in v.op.name]
            self.inference_variables = [v.op.name for v in tf.trainable_variables() + moving]

    def open(self, checkpoint_path: str | None) -> tf.Session:
        """Opens the session, with the variables of a checkpoint or, without one, with new ones."""
        self.session = tf.Session(graph=self._graph, config=self._runtime.session_config)
        with self._graph.as_default():
            if checkpoint_path:
                self.saver.restore(self.session, checkpoint_path)
            else:
                self.session.run(self._initializer)
        return self.session

    def start(self, batches: list[np.ndarray], epoch: int) -> None:
        """Makes these batches the next ones."""
        # neighbours in a batch are of like length, so dealing them out balances the replicas
        for i, pipeline in enumerate(self._pipelines):
            pipeline.start(self.session, [rows[i :: len(self._pipelines)] for rows in batches], epoch)

    def try_worst_batch(self, batches: list[np.ndarray], epoch: int) -> None:
        """Runs the largest batch up to its gradient, so that memory that does not suffice shows at once."""
        self.start([worst_batch(batches, self._task.frames)], epoch)
        self._run(self._step.warm_up, {})

    def run_step(self, learning_rate: float, trace: tf.RunMetadata | None = None) -> StepResult:
        """Trains on the next batch; `trace`, where it is given, is filled with what ran when."""
        step = self._step
        fetches = [step.losses, step.rows, step.grad_norm, step.is_finite, self._wait_secs, step.update]
        return StepResult(*self._run(fetches, {self._learning_rate: learning_rate}, trace)[:5])

    def _run(self, fetches, feed, trace=None):
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE) if trace else None
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
