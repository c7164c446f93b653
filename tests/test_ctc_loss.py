"""The fast CTC against forward-backward in log space, written plainly; small cases against the sum over all paths."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.fast import ctc_loss
from models.fast.ctc_loss import ctc_losses

CLASSES = 6
BLANK = CLASSES - 1
SMALL_BLANK = 2  # of the cases that are small enough for all paths
RNG = np.random.default_rng(0)


def plain(logits, label):
    """Loss and gradient of one utterance, logits `[frames, classes]`, in float64 and log space."""
    log_p = logits.astype('d') - np.logaddexp.reduce(logits.astype('d'), 1, keepdims=True)
    symbols = [BLANK] + [x for symbol in label for x in (symbol, BLANK)]
    may_skip = np.array([i > 1 and s != BLANK and s != symbols[i - 2] for i, s in enumerate(symbols)])

    def forward(log_p, may_skip, symbols):
        state, states = np.full(len(symbols), -np.inf), []
        for t in range(len(log_p)):
            one, two = (np.concatenate([np.full(n, -np.inf), state])[: len(state)] for n in (1, 2))
            state = np.logaddexp(np.logaddexp(state, one), np.where(may_skip, two, -np.inf))
            if t == 0:
                state[:2] = 0
            states.append(state)
            state = state + log_p[t, symbols]
        return np.array(states)

    before = forward(log_p, may_skip, symbols)
    skip_back = np.append(may_skip, [False, False])[2:]
    after = forward(log_p[::-1], skip_back[::-1], symbols[::-1])[::-1, ::-1]
    joint = before + after + log_p[:, symbols]
    log_likelihood = np.logaddexp.reduce(joint, 1)
    expected = np.zeros_like(log_p)
    for state, symbol in enumerate(symbols):
        expected[:, symbol] += np.exp(joint[:, state] - log_likelihood)
    return -log_likelihood[0], np.exp(log_p) - expected


def fast(logits, lengths, labels, label_lengths, fetch_is_exact=False, device_type='CPU'):
    """Losses, their gradients, and with `fetch_is_exact` whether float64 had the range."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(logits)
        rest = [tf.constant(a, tf.int32) for a in (lengths, labels, label_lengths)]
        loss = ctc_losses(x, *rest, device_type=device_type)
        fetches = [loss, tf.gradients(tf.reduce_sum(loss), x)[0]]
        return session.run([*fetches, ctc_loss.losses_and_gradients(x, *rest)[2]] if fetch_is_exact else fetches)


def check(logits, lengths, labels, label_lengths, **options):
    losses, gradients, *is_exact = fast(logits, lengths, labels, label_lengths, **options)
    for b, (frames, symbols) in enumerate(zip(lengths, label_lengths, strict=True)):
        loss, gradient = plain(logits[:frames, b], list(labels[b][:symbols]))
        np.testing.assert_allclose(losses[b], loss, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradients[:frames, b], gradient, rtol=1e-4, atol=1e-5)
        assert not gradients[frames:, b].any()
    return is_exact


def test_a_ragged_batch_with_repeats_and_an_empty_transcript():
    labels = [[0, 0, 1, 1, 1], [4, 99, -1, 7, 7], [2, 3, 3, 99, 99], [9, 9, 9, 9, 9], [1, 2, 3, 4, 0]]
    check(RNG.normal(size=[21, 5, CLASSES]).astype('f'), [21, 3, 9, 8, 5], labels, [5, 1, 3, 0, 5])


@pytest.mark.parametrize('frames', [1, 7, 8, 9])
def test_any_number_of_frames(frames):
    check(RNG.normal(size=[frames, 1, CLASSES]).astype('f'), [frames], [[2]], [1])


def test_no_column_of_labels_at_all():
    check(RNG.normal(size=[4, 2, CLASSES]).astype('f'), [4, 2], np.zeros([2, 0], 'i'), [0, 0])


@pytest.mark.parametrize('blank_logit', [-3.0, 0.0, 9.0])
def test_long_utterances_stay_within_the_range_of_float64(blank_logit):
    """9 is how training begins: all blank, so that every path to the end is less likely than e^-3000."""
    logits = RNG.normal(size=[2000, 2, CLASSES]).astype('f')
    logits[..., BLANK] += blank_logit
    labels = RNG.integers(0, BLANK, [2, 400])
    (is_exact,) = check(logits, [2000, 1500], labels, [400, 250], fetch_is_exact=True)
    assert is_exact.all()


@pytest.mark.parametrize('sign', [-1, 1])
def test_large_logits(sign):
    logits = (10 * RNG.normal(size=[60, 3, CLASSES]) + sign * 1000).astype('f')
    check(logits, [60, 60, 44], RNG.integers(0, BLANK, [3, 12]), [12, 7, 10])


def test_a_path_beyond_the_range_of_float64_is_summed_in_log_space():
    logits = np.zeros([21, 2, CLASSES], 'f')
    logits[:10, 0, BLANK] = 80  # whoever says these blanks has not the frames for 20 symbols
    labels = np.tile([1, 2], [2, 10])
    (is_exact,) = check(logits, [21, 21], labels, [20, 20], fetch_is_exact=True)
    assert is_exact.tolist() == [False, True]


@pytest.mark.parametrize('device_type', ['CPU', 'GPU'])
@pytest.mark.parametrize('apart', [50, 88, 110, 1000, 1e5])
def test_loss_and_gradient_are_right_for_logits_far_apart(apart, device_type):
    """A blank is certain in each frame; the labels need frames, of which the first utterance has none to spare."""
    logits = RNG.normal(size=[12, 4, CLASSES]).astype('f')
    logits[..., BLANK] += apart
    labels = [[0, 1, 1, 2, 3, 4, 0, 1, 2, 3], [0, 1, 1, 2, 3, 4, 0, 1, 2, 0], [3, 3, 0, 0, 0, 0, 0, 0, 0, 0], [0] * 10]
    check(logits, [11, 12, 5, 7], labels, [10, 10, 2, 0], device_type=device_type)


@pytest.mark.parametrize('device_type', ['CPU', 'GPU'])
def test_a_likelier_path_with_one_impossible_frame_beats_one_with_many_unlikely_frames(device_type):
    logits = np.zeros([3, 1, CLASSES], 'f')
    logits[0, 0], logits[1:, 0] = [-90, -200, -200, -200, -200, 0], [-60, -200, -200, -200, -200, 0]
    check(logits, [3], [[0]], [1], device_type=device_type)  # 60 nats
    logits[1:, 0, BLANK] = -45  # 90 nats for the label in the first frame, blanks or labels of 45 and 60 after it
    check(logits, [3], [[0]], [1], device_type=device_type)


@pytest.mark.parametrize('device_type', ['CPU', 'GPU'])
def test_what_does_not_fit_its_frames_has_an_infinite_loss_and_no_gradient(device_type):
    labels = [[0, 0, 1], [1, 2, 3], [1, 2, 0], [0, 0, 0]]
    logits = RNG.normal(size=[4, 4, CLASSES]).astype('f')
    losses, gradients = fast(logits, [3, 2, 3, 4], labels, [3, 3, 2, 0], device_type=device_type)
    assert (losses[:2] == np.inf).all() and np.isfinite(losses[2:]).all()
    assert not gradients[:, :2].any() and np.isfinite(gradients).all()


def test_on_a_gpu_the_kernel_is_taken_where_it_has_the_range():
    logits, rest = RNG.normal(size=[9, 2, CLASSES]).astype('f'), ([9, 7], [[1, 2], [0, 0]], [2, 1])
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = session.run(ctc_loss.kernel_losses_and_gradients(tf.constant(logits), *map(tf.constant, rest)))
    assert kernel[2].all()
    for got, wanted in zip(fast(logits, *rest, device_type='GPU'), kernel, strict=False):
        np.testing.assert_array_equal(got, wanted)


def collapse(path):
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != SMALL_BLANK]


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
