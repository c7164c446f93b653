"""The pipe between the batch plan and the graph: batches are loaded in parallel, ahead of the step that wants them."""

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
      wait_secs: how long a run that fetches them waited for the batch.
    """

    def __init__(self, load: Callable[[np.ndarray, int], tuple], num_features: int):
        """Builds the pipeline in the default graph.

        Args:
          load: from (rows, epoch) to the arrays of a `Batch`.
          num_features: of a frame.
        """
        self._load, self._todo, self._epoch, self._failure = load, [], 0, None
        self._num_batches = tf.placeholder(tf.int64, [])
        dataset = tf.data.Dataset.range(self._num_batches)
        dataset = dataset.map(self._load_op, num_parallel_calls=LOADERS).prefetch(AHEAD)
        # beginning an iterator anew waits for tf.data's tuning thread, which may sleep for many seconds
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.with_options(options)
        self._iterator = tf.data.make_initializable_iterator(dataset)
        # nothing of a step can begin before its batch is there, so what passes between these two is waiting
        asked = tf.timestamp()
        with tf.control_dependencies([asked]):
            self.batch = Batch(*self._iterator.get_next())
        with tf.control_dependencies([self.batch.rows]):
            self.wait_secs = tf.timestamp() - asked
        for tensor, shape in zip(
            self.batch, ([None, None, num_features], [None], [None, None], [None], [None]), strict=True
        ):
            tensor.set_shape(shape)

    def _load_op(self, number):
        return tf.numpy_function(self._try_load, [number], [tf.float32, tf.int32, tf.int32, tf.int32, tf.int32])

    def _try_load(self, number):
        try:
            return self._load(self._todo[number], self._epoch)
        except DataError as error:  # TensorFlow would wrap it in pages of its own
            self._failure = error
            raise

    def start(self, session: tf.Session, batches: list[np.ndarray], epoch: int) -> None:
        """Makes the given batches the next ones, in order."""
        self._todo, self._epoch = batches, epoch
        session.run(self._iterator.initializer, {self._num_batches: len(batches)})

    def explain(self, error: tf.errors.OpError) -> Exception:
        """The user's mistake behind a failed step, where there is one; otherwise the error itself."""
        return self._failure or error
