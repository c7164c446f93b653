"""Listen, Attend and Spell: lengths, teacher forcing against free running, variables and gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import models
from models import free_running, las
from models.layers import Phase
from models.listener import CTC_FRAMES
from models.speller import spell
from utils.config import ModelConfig

SMALL = ModelConfig(
    'las', features=13, classes=5, hidden_units=6, rnn_layers=4, rnn_cell='lstm', activation='tanh', batch_norm=False
)
CONFIGS = {
    'location': SMALL,
    'content': dataclasses.replace(SMALL, attention='content', speller_layers=2),
    'gru, batch norm, three layers': dataclasses.replace(SMALL, rnn_cell='gru', rnn_layers=3, batch_norm=True),
    'rnn, one direction, five layers': dataclasses.replace(
        SMALL, rnn_cell='rnn', rnn_layers=5, bidirectional=False, speller_layers=2
    ),
    'no ctc': dataclasses.replace(SMALL, ctc_weight=0.0),
}
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=[3, 43, 13]).astype('f')
LENGTHS = np.array([43, 16, 25], np.int32)
LABELS, LABEL_LENGTHS = np.array([[1, 2, 3], [3, 0, 0], [2, 2, 0]], np.int32), np.array([3, 1, 2], np.int32)


def run(config, build, features=FEATURES, lengths=LENGTHS, seed=3):
    """What `build(model over the batch)` gives, at inference with seeded weights that are far from small."""
    with tf.Graph().as_default(), tf.Session() as session:
        fetches = build(las.forward(tf.constant(features), tf.constant(lengths), config, Phase()))
        session.run(tf.global_variables_initializer())
        rng = np.random.default_rng(seed)
        for variable in tf.trainable_variables():
            variable.load(rng.normal(size=variable.shape).astype('f'), session)
        return session.run(fetches)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_variable_gets_a_gradient(name):
    config = CONFIGS[name]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        phase = Phase(is_training=True, keep_prob=0.9, seed=tf.constant([1, 1]))
        output = las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, phase)
        criterion = models.Criterion('neighborhood', (), sample_prob=0.5)
        losses = las.losses(output, tf.constant(LABELS), tf.constant(LABEL_LENGTHS), config, phase, criterion)
        variables = tf.trainable_variables()
        gradients = tf.gradients(losses, variables)
        assert None not in gradients
        session.run(tf.global_variables_initializer())
        values, found = session.run([gradients, losses])
    assert np.isfinite(found).all()
    for variable, value in zip(variables, values, strict=True):
        assert np.isfinite(np.asarray(value)).all() and np.any(value), variable.name


def test_a_ctc_weight_of_0_leaves_no_ctc_variables():
    def names(config):
        with tf.Graph().as_default():
            las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, Phase())
            return [variable.name for variable in tf.global_variables() if 'ctc' in variable.name]

    assert names(SMALL) and not names(CONFIGS['no ctc'])


def test_weights_start_uniform_within_a_tenth():
    with tf.Graph().as_default(), tf.Session() as session:
        las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), SMALL, Phase())
        session.run(tf.global_variables_initializer())
        kernels = [v for v in session.run(tf.trainable_variables()) if v.ndim == 2]
    largest = [abs(kernel).max() for kernel in kernels]
    assert max(largest) <= 0.1 and np.median(largest) > 0.08


@pytest.mark.parametrize('layers', [3, 4, 5])
def test_the_pyramid_shortens_time_to_an_eighth_rounded_up(layers):
    config = dataclasses.replace(SMALL, rnn_layers=layers)
    listened = run(config, lambda model: list(model.listened))
    assert listened[2].tolist() == [6, 2, 4]
    assert listened[0].shape == (3, 6, 12) and listened[3].shape == (CTC_FRAMES * 6, 3, 5)
    assert not listened[0][1, 2:].any() and listened[0][1, :2].all()


@pytest.mark.parametrize('name', CONFIGS)
def test_padding_and_other_batch_members_change_no_logits(name):
    config, inputs = CONFIGS[name], np.concatenate([np.full([3, 1], 4), LABELS], 1).T

    def logits(features, lengths, symbols):
        return run(config, lambda model: spell(model.speller, tf.constant(symbols), Phase()), features, lengths)

    together = logits(FEATURES, LENGTHS, inputs)
    longer = logits(np.concatenate([FEATURES, 100 + FEATURES[:, :17]], 1), LENGTHS, inputs)
    np.testing.assert_allclose(longer, together, rtol=1e-4, atol=1e-5)
    for row, frames in enumerate(LENGTHS):
        alone = logits(FEATURES[row : row + 1, :frames], LENGTHS[row : row + 1], inputs[:, row : row + 1])
        np.testing.assert_allclose(together[:, row], alone[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CONFIGS)
def test_greedy_spelling_says_what_teacher_forcing_says_of_the_same_symbols(name):
    config = CONFIGS[name]
    written = free_running.Spelled(*run(config, lambda model: list(free_running.greedy(model, config))))
    assert 0 < written.lengths.max() < 22  # at least one ends by itself, or what follows would show little
    inputs = np.concatenate([np.full([3, 1], 4), written.ids], 1).T[:-1]
    logits = run(config, lambda model: spell(model.speller, tf.constant(inputs, tf.int32), Phase()))
    log_probs = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    for row, length in enumerate(written.lengths):
        np.testing.assert_array_equal(log_probs[:length, row].argmax(1), written.ids[row, :length])
        np.testing.assert_allclose(
            log_probs[:length, row].max(1), written.log_probs[row, :length], rtol=1e-3, atol=1e-4
        )
        limit = free_running.symbol_limits(-(-LENGTHS[row] // las.TIME_STRIDE))
        assert length <= limit
        if length < limit:
            np.testing.assert_allclose(log_probs[length, row, 4], written.end_log_probs[row], rtol=1e-3, atol=1e-4)
        frames = -(-LENGTHS[row] // las.TIME_STRIDE)
        np.testing.assert_allclose(written.weights[row, :length, :frames].sum(1), 1, rtol=1e-4)
        assert not written.weights[row, :, frames:].any()


def test_loss_is_the_mean_over_symbols_of_both_criteria():
    config = dataclasses.replace(SMALL, ctc_weight=0.25)
    fits = np.array([3, 1, 2])

    def build(model):
        inputs = tf.constant(np.concatenate([np.full([3, 1], 4), LABELS], 1).T, tf.int32)
        return [
            las.losses(model, tf.constant(LABELS), tf.constant(LABEL_LENGTHS), config, Phase(), models.Criterion()),
            tf.nn.log_softmax(spell(model.speller, inputs, Phase())),
            tf.nn.log_softmax(model.listened.ctc_logits),
        ]

    losses, spelled, heard = run(config, build)
    for row, length in enumerate(fits):
        symbols = [*LABELS[row, :length], 4]
        cost = -sum(spelled[step, row, symbol] for step, symbol in enumerate(symbols))
        with tf.Graph().as_default(), tf.Session() as session:
            frames = CTC_FRAMES * -(-LENGTHS[row] // 8)
            ctc = tf.nn.ctc_loss_v2(
                LABELS[row : row + 1, :length], heard[:frames, row : row + 1], [length], [frames], blank_index=4
            )
            ctc = session.run(ctc)[0]
        np.testing.assert_allclose(losses[row], (0.75 * cost + 0.25 * ctc) / (length + 1), rtol=1e-3)


def test_a_transcript_too_long_for_the_ctc_head_costs_its_spelling_alone():
    labels, lengths = np.ones([3, 20], np.int32), np.array([20, 1, 1], np.int32)  # 20 equal ones need 39 frames of 12

    def build(model, config):
        losses = las.losses(model, tf.constant(labels), tf.constant(lengths), config, Phase(), models.Criterion())
        return losses, tf.gradients(losses, tf.trainable_variables()[0])

    config = dataclasses.replace(SMALL, ctc_weight=0.5)
    losses, (gradient,) = run(config, lambda model: build(model, config))
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()


def test_scheduled_sampling_changes_the_loss_in_training_only_and_repeats_with_its_seed():
    config = CONFIGS['content']

    def loss(is_training, sample_prob, seed):
        phase = Phase(is_training=is_training, seed=tf.constant([seed, 0]) if is_training else None)
        criterion = models.Criterion(sample_prob=sample_prob)
        return lambda model: las.losses(
            model, tf.constant(LABELS), tf.constant(LABEL_LENGTHS), config, phase, criterion
        )

    def value(*arguments):
        return run(config, lambda model: loss(*arguments)(model))

    given = value(True, 0.0, 1)
    np.testing.assert_array_equal(value(False, 1.0, 1), value(False, 0.0, 1))
    np.testing.assert_array_equal(value(True, 1.0, 1), value(True, 1.0, 1))
    assert (value(True, 1.0, 1) != given).any() and (value(True, 1.0, 2) != value(True, 1.0, 1)).any()
