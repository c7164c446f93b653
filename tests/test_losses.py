"""CTC against the sum over all paths."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.fast.losses import cross_entropies, ctc_losses, smoothed_targets

BLANK = 2


def collapse(path):
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def brute_force(logits, label):
    """-log of the summed probability of every path that collapses to the label; logits `[frames, classes]`."""
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    paths = itertools.product(range(p.shape[1]), repeat=len(p))
    return -np.log(sum(np.prod(p[range(len(p)), path]) for path in paths if collapse(path) == label))


@pytest.mark.parametrize('label', [[0], [0, 1], [0, 0], [1, 0, 1]])
def test_loss_is_the_sum_over_all_paths(label):
    logits = np.random.default_rng(0).normal(size=[5, 1, 3]).astype('f')
    with tf.Graph().as_default(), tf.Session() as session:
        loss = session.run(
            ctc_losses(tf.constant(logits), tf.constant([5]), tf.constant([label]), tf.constant([len(label)]))
        )
    np.testing.assert_allclose(loss, [brute_force(logits[:, 0].astype('d'), label)], rtol=1e-5)


def test_padding_of_logits_and_labels_changes_nothing():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=[6, 2, 3]).astype('f')
    with tf.Graph().as_default(), tf.Session() as session:
        losses = session.run(
            ctc_losses(
                tf.constant(logits), tf.constant([6, 4]), tf.constant([[0, 1, 0], [1, 99, 99]]), tf.constant([3, 1])
            )
        )
    np.testing.assert_allclose(losses[1], brute_force(logits[:4, 1].astype('d'), [1]), rtol=1e-5)


def test_gradient_agrees_with_finite_differences():
    value = np.random.default_rng(2).normal(size=[4, 1, 3]).astype('f')
    with tf.Graph().as_default(), tf.Session() as session:
        logits = tf.constant(value)
        loss = ctc_losses(logits, tf.constant([4]), tf.constant([[0, 0]]), tf.constant([2]))
        gradient = session.run(tf.gradients(loss, logits)[0])
    for index in [(0, 0, 0), (2, 0, 1), (3, 0, 2)]:
        step = np.zeros_like(value, 'd')
        step[index] = 1e-5
        above, below = (brute_force((value + s)[:, 0], [0, 0]) for s in (step, -step))
        np.testing.assert_allclose(gradient[index], (above - below) / 2e-5, rtol=1e-3, atol=1e-6)


def targets(symbols, lengths, smoothing, frequencies=()):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(
            smoothed_targets(tf.constant(symbols), tf.constant(lengths), 5, smoothing, tuple(frequencies))
        )


def test_neighborhood_smoothing_gives_neighbours_a_tenth_as_5_to_2():
    found = targets([[0, 1, 2, 3, 4]], [4], 'neighborhood')[0]  # 4 is the end
    np.testing.assert_allclose(found[0], [0.9, 0.1 * 5 / 7, 0.1 * 2 / 7, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.1 * 5 / 12, 0.9, 0.1 * 5 / 12, 0.1 * 2 / 12, 0], rtol=1e-6)
    np.testing.assert_allclose(found[3], [0, 0.1 * 2 / 7, 0.1 * 5 / 7, 0.9, 0], rtol=1e-6)
    np.testing.assert_allclose(found[4], [0, 0, 0.1 * 2 / 7, 0.1 * 5 / 7, 0.9], rtol=1e-6)


def test_smoothing_is_blind_to_padding_and_each_target_sums_to_one():
    frequencies = [0.4, 0.3, 0.1, 0.1, 0.1]
    for smoothing in ('none', 'unigram', 'neighborhood'):
        padded = targets([[0, 1, 4, 4, 4], [3, 3, 2, 1, 4]], [2, 4], smoothing, frequencies)
        np.testing.assert_allclose(padded.sum(2), 1, rtol=1e-6)
        np.testing.assert_allclose(padded[0, :3], targets([[0, 1, 4]], [2], smoothing, frequencies)[0], rtol=1e-6)


def test_unigram_smoothing_gives_a_twentieth_by_frequency():
    found = targets([[1, 4]], [1], 'unigram', [0.5, 0.2, 0.1, 0.1, 0.1])[0]
    np.testing.assert_allclose(found[0], [0.025, 0.95 + 0.01, 0.005, 0.005, 0.005], rtol=1e-6)


def test_cross_entropy_counts_real_steps_only():
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]], 'f'))
    target = np.array([[[1, 0, 0], [0, 1, 0]]], 'f')
    with tf.Graph().as_default(), tf.Session() as session:
        one, both = (session.run(cross_entropies(tf.constant(logits), tf.constant(target), [n]))[0] for n in (1, 2))
    np.testing.assert_allclose([one, both], [-np.log(0.5), -np.log(0.5) - np.log(0.8)], rtol=1e-5)
