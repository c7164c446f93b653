"""The loop with its own gradient against the same steps laid out one after another."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.fast.scan import product, scan

BATCH, UNITS, FRAMES, STEPS, CLASSES = 3, 4, 5, 6, 7
RNG = np.random.default_rng(0)
SYMBOLS = RNG.integers(0, CLASSES, size=(STEPS, BATCH))


def random(*shape):
    return tf.constant(0.5 * RNG.normal(size=shape), tf.float32)


def step(apply, shared, row, state):
    """A toy speller: a plain cell, an attention whose keys and memory are weights of the batch, a shared bias."""
    h, weights = state
    h = tf.tanh(row + apply('recurrent', h) + shared['bias'] + apply('memory', weights))
    return [h, tf.nn.softmax(apply('keys', h))]


def parts():
    weights = {
        'recurrent': random(UNITS, UNITS),
        'keys': random(BATCH, UNITS, FRAMES),
        'memory': random(BATCH, FRAMES, UNITS),
    }
    return random(CLASSES, UNITS), weights, {'bias': random(UNITS)}


def laid_out(symbols, table, state, weights, shared):
    states = []
    for symbol in symbols:
        state = step(lambda name, x: product(x, weights[name]), shared, tf.gather(table, symbol), state)
        states.append(state)
    return [tf.stack(tensors) for tensors in zip(*states, strict=True)]


@pytest.mark.parametrize('outputs', [(0,), (0, 1)])
def test_states_and_gradients_are_those_of_the_steps_laid_out(outputs):
    with tf.Graph().as_default(), tf.Session() as session:
        table, weights, shared = parts()
        state = [tf.zeros([BATCH, UNITS]), tf.zeros([BATCH, FRAMES])]
        factors = [random(STEPS, BATCH, UNITS), random(STEPS, BATCH, FRAMES)]
        leaves = [table, *weights.values(), *shared.values()]
        found = []
        for states in (
            scan(step, tf.constant(SYMBOLS, tf.int32), table, state, weights, shared),
            laid_out(SYMBOLS, table, state, weights, shared),
        ):
            loss = tf.add_n([tf.reduce_sum(states[i] * factors[i]) for i in outputs])
            gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(loss, leaves)]
            found.append([*states, *gradients])
        fast, plain = session.run(found)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_chosen_symbols_take_the_place_of_the_given_ones_and_get_the_gradient():
    with tf.Graph().as_default(), tf.Session() as session:
        table, weights, shared = parts()
        state = [tf.zeros([BATCH, UNITS]), tf.zeros([BATCH, FRAMES])]

        def choose(t, symbol, state):
            return tf.where(tf.equal(t, 2), tf.fill([BATCH], tf.constant(CLASSES - 1, tf.int64)), symbol)

        expected = SYMBOLS.copy()
        expected[2] = CLASSES - 1
        found = [
            scan(step, tf.constant(SYMBOLS, tf.int32), table, state, weights, shared, choose)[0],
            laid_out(expected, table, state, weights, shared)[0],
        ]
        gradients = [tf.convert_to_tensor(tf.gradients(states, table)[0]) for states in found]
        (fast, plain), (d_fast, d_plain) = session.run([found, gradients])
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_fast, d_plain, rtol=1e-4, atol=1e-6)


def test_a_batched_weight_serves_the_rows_of_its_entry():
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.constant([[[1.0], [0.0]], [[0.0], [10.0]]])  # [batch, in, out]
        found = session.run(product(tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), weight))
    assert found.tolist() == [[1], [3], [60], [80]]
