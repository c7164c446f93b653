"""The pipe between plan and graph says how long a step waited for its batch."""

import time

import numpy as np
import tensorflow.compat.v1 as tf

from utils.data.pipeline import Pipeline


def test_waiting_is_from_the_request_to_the_batch():
    def load(rows, epoch):
        time.sleep(0.3)
        return np.zeros([1, 2, 3], 'f'), np.array([2], 'i'), np.zeros([1, 1], 'i'), np.array([1], 'i'), rows

    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = Pipeline(load, 3)
        pipeline.start(session, [np.array([7], np.int32)], 0)
        rows, wait_secs = session.run([pipeline.batch.rows, pipeline.wait_secs])
    assert rows.tolist() == [7]
    assert wait_secs > 0.2  # the loader slept for 0.3
