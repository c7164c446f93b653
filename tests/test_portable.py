"""Layers for other runtimes against the forms that training uses."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models import convolution
from models.cells import NUM_GATES
from models.fast import portable
from models.fast.recurrence import recurrence
from models.layers import ACTIVATIONS

LENGTHS = [37, 5, 1]


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('cell', NUM_GATES)
def test_blocks_of_frames_give_the_outputs_of_the_loop(cell, reverse):
    rng, units = np.random.default_rng(0), 6
    x = rng.normal(size=[max(LENGTHS), len(LENGTHS), NUM_GATES[cell] * units]).astype(np.float32)
    u = rng.normal(size=[units, NUM_GATES[cell] * units]).astype(np.float32)
    mask = (np.arange(max(LENGTHS))[:, None, None] < np.array(LENGTHS)[:, None]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder_with_default(x, [None, len(LENGTHS), x.shape[2]])
        arguments = cell, inputs, tf.constant(u), tf.constant(mask), ACTIVATIONS['tanh'], reverse
        found, expected = session.run([portable.recurrence(*arguments), recurrence(*arguments)])
    np.testing.assert_allclose(found * mask, expected * mask, atol=1e-5)


@pytest.mark.parametrize('frames', [1, 2, 9, 10])
@pytest.mark.parametrize('strides', [(2, 2), (1, 2), (3, 1)])
def test_convolutions_are_equal(frames, strides):
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(rng.normal(size=[2, frames, 13, 3]), tf.float32)
        kernel = tf.constant(rng.normal(size=[5, 4, 3, 2]), tf.float32)
        pair = [portable.conv2d(x, kernel, *strides), convolution.conv2d(x, kernel, *strides, form='plain')]
        found, expected = session.run(pair)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)
