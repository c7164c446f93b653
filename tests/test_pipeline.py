"""The pipe between plan and graph says how long a step waited for its batch."""

import time

import numpy as np
import tensorflow.compat.v1 as tf

from utils.data.pipeline import Pipeline


def test_waiting_is_from_the_request_to_the_batch():
    def load(rows, epoch):
        time.sleep(rows[0] / 10)
        return np.zeros([1, 2, 3], 'f'), np.array([2], 'i'), np.zeros([1, 1], 'i'), np.array([1], 'i'), rows

    # one thread for all operations, as on a machine of one core; each step computes longer than its batch takes to load
    threads = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Graph().as_default(), tf.Session(config=threads) as session:
        pipeline = Pipeline(load, 3)
        work = tf.py_func(lambda rows: time.sleep(0.3) or rows, [pipeline.batch.rows], tf.int32)
        for _ in range(2):  # begun anew it counts anew
            pipeline.start(session, [np.array([tenths], np.int32) for tenths in (3, 1)], 0)
            for tenths, least, most in (3, 0.2, 0.6), (1, 0, 0.01):
                begun = time.perf_counter()
                assert session.run(work).tolist() == [tenths]
                assert least <= pipeline.waited(begun) <= most
