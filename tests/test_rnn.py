"""The fast loop against the same recurrences written frame by frame, values and gradients."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.cells import NUM_GATES
from models.fast.recurrence import recurrence
from models.layers import ACTIVATIONS, Phase
from models.rnn import recurrent_layer

UNITS, INPUTS, BATCH, FRAMES = 4, 3, 3, 6
LENGTHS = [6, 1, 4]


def plain_step(cell, f, x, h, c, u):
    """One frame of each recurrence, straight from its equations."""
    if cell == 'rnn':
        return f(x + tf.matmul(h, u)), c
    if cell == 'gru':
        xr, xz, xc = tf.split(x, 3, 1)
        ur, uz, uc = tf.split(u, 3, 1)
        r, z = tf.sigmoid(xr + tf.matmul(h, ur)), tf.sigmoid(xz + tf.matmul(h, uz))
        candidate = f(xc + r * tf.matmul(h, uc))
        return (1 - z) * candidate + z * h, c
    i, forget, o, g = tf.split(x + tf.matmul(h, u), 4, 1)
    c = tf.sigmoid(forget) * c + tf.sigmoid(i) * f(g)
    return tf.sigmoid(o) * f(c), c


def plain_recurrence(cell, x, u, lengths, activation, reverse):
    """Each utterance by itself, over its own frames only: no mask is needed."""
    f = ACTIVATIONS[activation].function
    rows = []
    for row, length in enumerate(lengths):
        h = c = tf.zeros([1, UNITS])
        outputs = [tf.zeros([1, UNITS])] * FRAMES
        for t in reversed(range(length)) if reverse else range(length):
            h, c = plain_step(cell, f, x[t, row : row + 1], h, c, u)
            outputs[t] = h
        rows.append(tf.stack(outputs))
    return tf.concat(rows, 1)


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('activation', ['relu', 'tanh', 'sigmoid', 'elu'])
@pytest.mark.parametrize('cell', ['gru', 'lstm', 'rnn'])
def test_fast_loop_equals_the_plain_recurrence_on_ragged_lengths(cell, activation, reverse):
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(rng.normal(size=[FRAMES, BATCH, NUM_GATES[cell] * UNITS]), tf.float32)
        u = tf.constant(rng.normal(size=[UNITS, NUM_GATES[cell] * UNITS]), tf.float32)
        weights = tf.constant(rng.normal(size=[FRAMES, BATCH, UNITS]), tf.float32)
        mask = tf.expand_dims(tf.transpose(tf.sequence_mask(LENGTHS, FRAMES, tf.float32)), 2)
        fast = recurrence(cell, x, u, mask, ACTIVATIONS[activation], reverse) * mask
        plain = plain_recurrence(cell, x, u, LENGTHS, activation, reverse)
        results = [[y, *tf.gradients(tf.reduce_sum(y * weights), [x, u])] for y in (fast, plain)]
        (y, dx, du), (plain_y, plain_dx, plain_du) = session.run(results)
    np.testing.assert_allclose(y, plain_y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, plain_dx, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(du, plain_du, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('cell', ['gru', 'lstm', 'rnn'])
def test_gradient_agrees_with_finite_differences(cell):
    rng = np.random.default_rng(1)
    u_value = rng.normal(size=[UNITS, NUM_GATES[cell] * UNITS])
    x_value = rng.normal(size=[FRAMES, 2, NUM_GATES[cell] * UNITS])
    with tf.Graph().as_default(), tf.Session() as session:
        x, u = tf.placeholder(tf.float64, x_value.shape), tf.placeholder(tf.float64, u_value.shape)
        mask = tf.expand_dims(tf.transpose(tf.sequence_mask([6, 3], FRAMES, tf.float64)), 2)
        total = tf.reduce_sum(recurrence(cell, x, u, mask, ACTIVATIONS['tanh'], False) ** 2 * mask)
        gradient = session.run(tf.gradients(total, u)[0], {x: x_value, u: u_value})
        for i, j in [(0, 0), (1, UNITS - 1), (3, NUM_GATES[cell] * UNITS - 1)]:
            step = np.zeros_like(u_value)
            step[i, j] = 1e-5
            above, below = (session.run(total, {x: x_value, u: u_value + s}) for s in (step, -step))
            np.testing.assert_allclose(gradient[i, j], (above - below) / 2e-5, rtol=1e-5, atol=1e-8)


def run_layer(x, lengths, **options):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        mask = tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, x.shape[0], tf.float32)), 2)
        y = recurrent_layer(tf.constant(x) * mask, mask, UNITS, 'layer', phase=Phase(), **options)
        session.run(tf.global_variables_initializer())
        return session.run(y)


@pytest.mark.parametrize('cell', ['gru', 'lstm', 'rnn'])
def test_padding_and_other_batch_members_change_nothing(cell):
    x = np.random.default_rng(2).normal(size=[FRAMES, BATCH, INPUTS]).astype('f')
    whole = run_layer(x, LENGTHS, cell=cell, use_batch_norm=True)
    alone = run_layer(x[:4, 2:], [4], cell=cell, use_batch_norm=True)
    np.testing.assert_allclose(whole[:4, 2:], alone, atol=1e-6)
    assert not whole[1:, 1].any()


def test_directions_are_summed_or_concatenated():
    x = np.random.default_rng(2).normal(size=[FRAMES, BATCH, INPUTS]).astype('f')
    summed, both = run_layer(x, LENGTHS), run_layer(x, LENGTHS, merge='concat')
    np.testing.assert_allclose(summed, both[..., :UNITS] + both[..., UNITS:], atol=1e-6)
    forward = run_layer(x, LENGTHS, bidirectional=False)
    np.testing.assert_allclose(forward, both[..., :UNITS], atol=1e-6)


@pytest.mark.parametrize('cell', ['gru', 'lstm', 'rnn'])
def test_products_in_bfloat16_are_near_those_in_float32(cell):
    def values_and_gradients(dtype):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(3)
            x = tf.constant(np.random.default_rng(2).normal(size=[FRAMES, BATCH, INPUTS]).astype('f'))
            phase = Phase(is_training=True, dtype=dtype)
            y = recurrent_layer(x, tf.ones([FRAMES, BATCH, 1]), UNITS, 'layer', cell=cell, phase=phase)
            variables = tf.trainable_variables()
            assert y.dtype == tf.float32 and all(variable.dtype.base_dtype == tf.float32 for variable in variables)
            products = {op.inputs[0].dtype for op in session.graph.get_operations() if op.type == 'MatMul'}
            assert dtype in products
            session.run(tf.global_variables_initializer())
            return session.run([y, *tf.gradients(y**2, [x, *variables])])

    exact, rounded = values_and_gradients(tf.float32), values_and_gradients(tf.bfloat16)
    for value, near in zip(exact, rounded, strict=True):
        error = np.linalg.norm(near - value) / np.linalg.norm(value)
        assert 1e-5 < error < 2e-2  # a product keeps eight bits
