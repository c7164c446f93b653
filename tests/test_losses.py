"""CTC against the sum over all paths."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.losses import ctc_losses

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
