"""Batch norm, lookahead and dropout: masks, moving averages, gradients."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.fast.ops import EPSILON
from models.layers import MOVING_AVERAGE_DECAY, Phase, batch_norm, dense, lookahead

X = np.array([[1.0, 10.0], [3.0, 30.0], [99.0, -99.0]], 'f')
MASK = np.array([[1.0], [1.0], [0.0]], 'f')


def run(build):
    """Builds in a fresh graph, initialises, returns the values."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        fetches = build()
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


def test_batch_norm_counts_real_rows_only():
    y = run(lambda: batch_norm(tf.constant(X), tf.constant(MASK), tf.zeros([2]), Phase(is_training=True), 'bn'))
    # mean 2 and 20, variance 1 and 100 over the two real rows
    np.testing.assert_allclose(y[:2, 0], [-1, 1], rtol=EPSILON)
    np.testing.assert_allclose(y[:2, 1], [-1, 1], rtol=EPSILON)


def test_moving_averages_move_towards_the_batch():
    def build():
        phase = Phase(is_training=True)
        batch_norm(tf.constant(X), tf.constant(MASK), tf.zeros([2]), phase, 'bn')
        return [value for _, value in phase.statistics]

    mean, variance = run(build)
    share = 1 - MOVING_AVERAGE_DECAY
    np.testing.assert_allclose(mean, [2 * share, 20 * share], rtol=1e-5)
    np.testing.assert_allclose(variance, [1, 1 + 99 * share], rtol=1e-5)


def test_moving_averages_move_faster_in_the_first_steps():
    def build(step):
        phase = Phase(is_training=True, step=tf.constant(step))
        batch_norm(tf.constant(X), tf.constant(MASK), tf.zeros([2]), phase, 'bn')
        return phase.statistics[0][1]

    np.testing.assert_allclose(run(lambda: build(0)), [0.9 * 2, 0.9 * 20], rtol=1e-5)
    np.testing.assert_allclose(run(lambda: build(20)), [0.3 * 2, 0.3 * 20], rtol=1e-5)


def test_inference_uses_the_moving_averages():
    y = run(lambda: batch_norm(tf.constant(X), tf.constant(MASK), tf.constant([1.0, 2.0]), Phase(), 'bn'))
    np.testing.assert_allclose(y, X / np.sqrt(1 + EPSILON) + [1, 2], rtol=1e-6)


def test_units_that_repeat_in_a_row_share_their_statistics():
    # two frequencies of one channel: values 1, 3, 5, 7 have mean 4 and variance 5
    x = np.array([[1.0, 3.0], [5.0, 7.0]], 'f')
    y = run(lambda: batch_norm(tf.constant(x), tf.ones([2, 1]), tf.constant([0.5]), Phase(is_training=True), 'bn', 2))
    np.testing.assert_allclose(y, (x - 4) / np.sqrt(5 + EPSILON) + 0.5, rtol=1e-5)


def test_batch_norm_gradient_equals_the_one_of_its_plain_formula():
    rng = np.random.default_rng(0)
    x_value, weights = rng.normal(size=[5, 6]).astype('f'), rng.normal(size=[5, 6]).astype('f')
    mask_value = np.array([[1], [1], [0], [1], [1]], 'f')

    def build():
        x, mask, bias = tf.constant(x_value), tf.constant(mask_value), tf.constant([0.1, 0.2, 0.3])
        y = batch_norm(x, mask, bias, Phase(is_training=True), 'bn', repeats=2)
        gamma = tf.trainable_variables()[0]
        split = tf.reshape(x, [5, 2, 3])
        count = 2 * tf.reduce_sum(mask)
        mean = tf.reduce_sum(split * mask[:, :, None], [0, 1]) / count
        variance = tf.reduce_sum(tf.square(split - mean) * mask[:, :, None], [0, 1]) / count
        plain = tf.reshape(gamma * (split - mean) * tf.rsqrt(variance + EPSILON) + bias, [5, 6])
        return [tf.gradients(tf.reduce_sum(z * weights * mask), [x, gamma, bias]) for z in (y, plain)]

    fast, plain = run(build)
    for got, wanted in zip(fast, plain, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def batch_norm_with_gradients(x_value, mask_value, weights, repeats, plain):
    """y, new moving mean and variance, and the gradients by x and gamma, of batch norm or of its formula in float64."""

    def build():
        dtype = tf.float64 if plain else tf.float32
        x, mask, factors = (tf.constant(a, dtype) for a in (x_value, mask_value, weights))
        if not plain:
            phase, bias = Phase(is_training=True, step=0), tf.zeros([x_value.shape[1] // repeats])
            y = batch_norm(x, mask, bias, phase, 'bn', repeats)
            gamma, (mean, variance) = tf.trainable_variables()[0], [value for _, value in phase.statistics]
        else:
            split = tf.reshape(x, [len(x_value), repeats, -1])
            gamma, count = tf.ones([split.shape[2]], dtype), repeats * tf.reduce_sum(mask)
            mean = tf.reduce_sum(split * mask[:, :, None], [0, 1]) / count
            variance = tf.reduce_sum(tf.square(split - mean) * mask[:, :, None], [0, 1]) / count
            y = tf.reshape(gamma * (split - mean) * tf.rsqrt(variance + EPSILON), x.shape)
            mean, variance = 0.9 * mean, 0.1 + 0.9 * variance
        return [y * mask, mean, variance, *tf.gradients(tf.reduce_sum(y * factors * mask), [x, gamma])]

    return run(build)


@pytest.mark.parametrize(('mean', 'deviation'), [(100, 0.1), (-1000, 1), (30, 0.01), (5, 0.55)])
@pytest.mark.parametrize('repeats', [1, 3])
def test_batch_norm_keeps_its_digits_far_from_zero(mean, deviation, repeats):
    rng = np.random.default_rng(0)
    x = (np.array([mean, 0] * repeats) + deviation * rng.normal(size=[4000, 2 * repeats])).astype('f')
    mask = (rng.random([4000, 1]) < 0.8).astype('f')
    weights = rng.normal(size=x.shape).astype('f') + (x - np.array([mean, 0] * repeats)) / deviation
    fast, exact = (batch_norm_with_gradients(x, mask, weights, repeats, plain) for plain in (False, True))
    for got, wanted in zip(fast, exact, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-3 * np.abs(wanted).max())


def test_a_unit_far_from_zero_leaves_the_bits_of_the_others():
    rng = np.random.default_rng(1)
    x, mask = rng.normal(size=[500, 3]).astype('f') + 1, np.ones([500, 1], 'f')
    far = x + np.array([0, 1000, 0], 'f')
    near, moved = (batch_norm_with_gradients(value, mask, x, 1, plain=False) for value in (x, far))
    for one, other in zip(near, moved, strict=True):
        np.testing.assert_array_equal(one[..., ::2], other[..., ::2])


def test_lookahead_is_a_weighted_sum_of_the_coming_frames():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.reshape(tf.constant([1.0, 2.0, 4.0]), [3, 1, 1])
        y = lookahead(x, 2, 'lookahead')
        session.run(tf.global_variables_initializer())
        session.run(tf.trainable_variables()[0].assign([[1.0], [10.0], [100.0]]))
        assert session.run(tf.reshape(y, [-1])).tolist() == [1 + 20 + 400, 2 + 40, 4]


def test_dropout_repeats_with_its_seed_and_keeps_the_mean():
    def build():
        x = tf.ones([1000, 10])
        phases = [Phase(True, 0.8, tf.constant(seed)) for seed in ([1, 1], [1, 1], [1, 2])]
        return [phase.dropout(x, 'a') for phase in phases] + [
            phases[0].dropout(x, 'b'),
            Phase(keep_prob=0.8).dropout(x, 'a'),
        ]

    first, again, next_step, elsewhere, inference = run(build)
    assert (first == again).all()
    assert (first != next_step).any() and (first != elsewhere).any()
    assert (inference == 1).all()
    assert abs(first.mean() - 1) < 0.02
    assert set(np.unique(first)) == {0, np.float32(1.25)}


def test_dense_maps_the_last_axis():
    y = run(lambda: dense(tf.ones([2, 3, 4]), 5, 'dense'))
    assert y.shape == (2, 3, 5)
    np.testing.assert_allclose(y[0, 0], y[1, 2])


def test_noise_reaches_kernels_alone_and_leaves_gradients_and_dropout():
    def build(deviation=0.5, number=1):
        phase = Phase(True, 0.8, tf.constant([1, number]))
        with phase.noisy_weights(tf.constant(deviation)), tf.variable_scope(f'layer{deviation}{number}'):
            kernel = tf.get_variable('kernel', [200, 100], initializer=tf.ones_initializer())
            bias = tf.get_variable('bias', [100], initializer=tf.ones_initializer())
            still = tf.get_variable('still', [100, 1], initializer=tf.ones_initializer(), trainable=False)
        weights = tf.trainable_variables()[-2]
        rest = bias, still, phase.dropout(tf.ones([50]), 'a')
        return kernel - weights, tf.gradients(tf.reduce_sum(kernel * kernel), weights)[0] - 2 * kernel, *rest

    noise, gradient, bias, still, dropout = run(build)
    again, other = run(lambda: (build(), build(number=2)))
    assert noise.mean() == pytest.approx(0, abs=0.02) and noise.std() == pytest.approx(0.5, rel=0.02)
    assert not gradient.any() and (bias == 1).all() and (still == 1).all()
    np.testing.assert_array_equal(again[0], noise)
    assert abs(np.corrcoef(noise.ravel(), other[0].ravel())[0, 1]) < 0.03
    with tf.Graph().as_default(), tf.Session() as session:
        plain = session.run(Phase(True, 0.8, tf.constant([1, 1])).dropout(tf.ones([50]), 'a'))
    np.testing.assert_array_equal(dropout, plain)
