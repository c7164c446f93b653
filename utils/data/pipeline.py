"""The pipe between the batch plan and the graph: batches are loaded in parallel, ahead of the step that wants them."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.errors import DataError

AHEAD = 4  # batches ready in memory
LOADERS = 2  # batches loaded at once


class Batch(NamedTuple):
    """What a step sees: features `[batch, time, features]`, labels `[batch, symbols]`; the rest is int32 `[batch]`."""

    features: tf.Tensor
    feature_lengths: tf.Tensor
    labels: tf.Tensor
    label_lengths: tf.Tensor
    rows: tf.Tensor


class Pipeline:
    """A tf.data pipeline over whatever batches it is told to load.

    Attributes:
      batch: the tensors of the next batch.
    """

    def __init__(self, load: Callable[[np.ndarray, int], tuple], num_features: int):
        """Builds the pipeline in the default graph.

        Args:
          load: from (rows, epoch) to the arrays of a `Batch`.
          num_features: of a frame.
        """
        self._load, self._todo, self._epoch, self._failure = load, [], 0, None
        self._loaded_at, self._num_taken = {}, 0
        self._num_batches = tf.placeholder(tf.int64, [])
        dataset = tf.data.Dataset.range(self._num_batches)
        dataset = dataset.map(self._load_op, num_parallel_calls=LOADERS).prefetch(AHEAD)
        # beginning an iterator anew waits for tf.data's tuning thread, which may sleep for many seconds
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
        except DataError as error:  # TensorFlow would wrap it in pages of its own
            self._failure = error
            raise

    def start(self, session: tf.Session, batches: list[np.ndarray], epoch: int) -> None:
        """Makes the given batches the next ones, in order."""
        self._todo, self._epoch = batches, epoch
        self._loaded_at, self._num_taken = {}, 0
        session.run(self._iterator.initializer, {self._num_batches: len(batches)})

    def waited(self, since: float) -> float:
        """Seconds that a run which took the next batch, begun at `since` by time.perf_counter, waited for it.

        To be asked once after every such run. It is told from when the batch was loaded, not by clocks in the graph:
        where one thread runs all operations, the second clock's turn may come only at the end of the step.
        """
        loaded_at = self._loaded_at[self._num_taken]
        self._num_taken += 1
        return max(0.0, loaded_at - since)

    def explain(self, error: tf.errors.OpError) -> Exception:
        """The user's mistake behind a failed step, where there is one; otherwise the error itself."""
        return self._failure or error
