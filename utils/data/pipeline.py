"""Input pipeline between the batch plan and the graph; batches are loaded in parallel, ahead of their steps."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.errors import DataError

AHEAD = 4  # batches ready in memory
LOADERS = 2  # batches loaded at once


class Batch(NamedTuple):
    """Input of a step: features `[batch, time, features]`, labels `[batch, symbols]`; the others int32 `[batch]`."""

    features: tf.Tensor
    feature_lengths: tf.Tensor
    labels: tf.Tensor
    label_lengths: tf.Tensor
    rows: tf.Tensor


class Pipeline:
    """A tf.data pipeline over a list of batches, which `start` sets.

    Attributes:
      batch: the tensors of the next batch.
    """

    def __init__(self, load: Callable[[np.ndarray, int], tuple], num_features: int):
        """Builds the pipeline in the default graph.

        Args:
          load: function from (rows, epoch) to the arrays of a `Batch`.
          num_features: number of features in a frame.
        """
        self._load, self._epoch, self._num_taken = load, 0, 0
        self._todo: list[np.ndarray] = []
        self._loaded_at: dict[int, float] = {}
        self._failure: DataError | None = None
        self._num_batches = tf.placeholder(tf.int64, [])
        dataset = tf.data.Dataset.range(self._num_batches)
        dataset = dataset.map(self._load_op, num_parallel_calls=LOADERS).prefetch(AHEAD)
        # initialising an iterator again waits for tf.data's tuning thread, which may sleep for many seconds
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.with_options(options)
        self._iterator = tf.data.make_initializable_iterator(dataset)
        self.batch = Batch(*self._iterator.get_next())
        for tensor, shape in zip(
            self.batch, ([None, None, num_features], [None], [None, None], [None], [None]), strict=True
        ):
            tensor.set_shape(shape)

    def _load_op(self, number):
        return tf.numpy_function(self._try_load, [number], [tf.float32, tf.int32, tf.int32, tf.int32, tf.int32])

    def _try_load(self, number):
        loaded_at = self._loaded_at
        try:
            arrays = self._load(self._todo[number], self._epoch)
            loaded_at[int(number)] = time.perf_counter()
            return arrays
        except DataError as error:  # kept for `explain`: TensorFlow wraps it in a long message of its own
            self._failure = error
            raise

    def start(self, session: tf.Session, batches: list[np.ndarray], epoch: int) -> None:
        """Starts the pipeline over the given batches, in order."""
        self._todo, self._epoch = batches, epoch
        self._loaded_at, self._num_taken = {}, 0
        session.run(self._iterator.initializer, {self._num_batches: len(batches)})

    def waited(self, since: float) -> float:
        """Seconds that a step, started at `since` by time.perf_counter, waited for its batch.

        Call it once after each step. It compares with the time when the batch was loaded. Clocks in the graph would
        not do: if one thread runs all operations, the second clock may run only at the end of the step.
        """
        loaded_at = self._loaded_at[self._num_taken]
        self._num_taken += 1
        return max(0.0, loaded_at - since)

    def explain(self, error: tf.errors.OpError) -> Exception:
        """The `DataError` behind a failed step, if there is one; otherwise the error itself."""
        return self._failure or error
