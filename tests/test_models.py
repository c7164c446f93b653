"""Whole models: every variable learns, and padding and the other members of a batch change no inference."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import models
from models import ctc
from models.config import ModelConfig
from models.deepspeech1 import with_context
from models.layers import Phase

SMALL = {'hidden_units': 6, 'rnn_layers': 2, 'features': 13, 'classes': 5}
CONFIGS = {
    'ds1': ModelConfig(
        'ds1', **{**SMALL, 'rnn_layers': 1}, rnn_cell='rnn', conv_layers=0, batch_norm=False, context_frames=2
    ),
    'ds1 gru, one direction': ModelConfig(
        'ds1', **{**SMALL, 'rnn_layers': 1}, conv_layers=0, bidirectional=False, context_frames=2
    ),
    'ds1, every third frame': ModelConfig(
        'ds1', **{**SMALL, 'rnn_layers': 1}, rnn_cell='rnn', conv_layers=0, batch_norm=False, frame_stride=3
    ),
    'ds2 gru': ModelConfig('ds2', **SMALL, conv_layers=2),
    'ds2 lstm, no batch norm': ModelConfig(
        'ds2', **SMALL, rnn_cell='lstm', conv_layers=1, batch_norm=False, activation='tanh'
    ),
    'ds2 rnn, one direction, two dense layers': ModelConfig(
        'ds2', **SMALL, rnn_cell='rnn', conv_layers=3, bidirectional=False, lookahead_frames=2, dense_layers=2
    ),
}
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=[3, 21, 13]).astype('f')
LENGTHS = np.array([21, 8, 14], np.int32)
LABELS, LABEL_LENGTHS = np.array([[1, 2, 3], [3, 0, 0], [2, 2, 0]], np.int32), np.array([3, 1, 2], np.int32)


def masked(features, lengths):
    return features * (np.arange(features.shape[1])[None, :, None] < lengths[:, None, None])


def best_path(config, features, lengths):
    """Logits at inference `[time, batch, classes]` and output lengths, with seeded weights."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        output = models.get(config).forward(tf.constant(features), tf.constant(lengths), config, Phase())
        session.run(tf.global_variables_initializer())
        return session.run(output)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_variable_gets_a_gradient_beside_noise_on_the_weights(name):
    config = CONFIGS[name]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        phase = Phase(is_training=True, keep_prob=0.9, seed=tf.constant([1, 1]))
        features, transcripts = tf.constant(masked(FEATURES, LENGTHS)), map(tf.constant, (LABELS, LABEL_LENGTHS))
        with phase.noisy_weights(tf.constant(0.1)):
            output = models.get(config).forward(features, tf.constant(LENGTHS), config, phase)
        losses = ctc.losses(output, *transcripts, config, phase, models.Criterion())
        variables = tf.trainable_variables()
        gradients = tf.gradients(losses, variables)
        assert None not in gradients
        session.run(tf.global_variables_initializer())
        values = session.run(gradients)
    for variable, value in zip(variables, values, strict=True):
        assert np.isfinite(value).all() and value.any(), variable.name
    assert bool(phase.statistics) == config.batch_norm


@pytest.mark.parametrize('name', CONFIGS)
def test_padding_and_other_batch_members_change_no_inference(name):
    config, stride = CONFIGS[name], models.get(CONFIGS[name]).time_stride
    together, lengths = best_path(config, FEATURES, LENGTHS)
    assert lengths.tolist() == [-(-n // stride) for n in LENGTHS]
    longer, _ = best_path(config, np.concatenate([FEATURES, 100 + FEATURES[:, :6]], 1), LENGTHS)
    for row, (frames, length) in enumerate(zip(LENGTHS, lengths, strict=True)):
        alone, _ = best_path(config, FEATURES[row : row + 1, :frames], LENGTHS[row : row + 1])
        np.testing.assert_allclose(together[:length, row], alone[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(longer[:length, row], alone[:, 0], rtol=1e-4, atol=1e-5)


def test_context_puts_neighbours_beside_a_frame_and_zeros_beyond_the_ends():
    with tf.Graph().as_default(), tf.Session() as session:
        frames = tf.constant([[[1.0], [2.0], [3.0]]])
        x, every_second = session.run([with_context(frames, 1), with_context(frames, 1, 2)])
    assert x.tolist() == [[[0, 1, 2], [1, 2, 3], [2, 3, 0]]]
    assert every_second.tolist() == [[[0, 1, 2], [2, 3, 0]]]


def test_a_stride_over_frames_counts_in_the_frames_that_a_transcript_needs():
    model = models.get(CONFIGS['ds1, every third frame'])
    assert model.time_stride == model.frames_per_symbol == 3
    # 8 frames give 3 outputs, too few for two equal symbols and one more
    _, lengths = best_path(CONFIGS['ds1, every third frame'], FEATURES, LENGTHS)
    assert lengths.tolist() == [7, 3, 5]


def test_dense_layers_stand_between_recurrence_and_output():
    def shapes(**options):
        with tf.Graph().as_default():
            config = ModelConfig('ds2', **SMALL, conv_layers=1, **options)
            models.get(config).forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, Phase())
            return {variable.op.name: variable.shape.as_list() for variable in tf.trainable_variables()}

    added = {'dense1/kernel': [6, 6], 'dense1/bias': [6], 'dense2/kernel': [6, 6], 'dense2/bias': [6]}
    assert shapes(dense_layers=2) == shapes() | added


def test_best_path_takes_the_likeliest_class_of_each_frame():
    logits = np.log(np.array([[[0.7, 0.2, 0.1]], [[0.1, 0.3, 0.6]]], 'f'))
    with tf.Graph().as_default(), tf.Session() as session:
        path = session.run(ctc.best_path(ctc.CtcOutput(tf.constant(logits), tf.constant([2]))))
    assert path.ids.tolist() == [[0, 2]]
    np.testing.assert_allclose(path.log_probs, np.log([[0.7, 0.6]]), rtol=1e-5)


def test_smoothed_ctc_adds_the_divergence_of_real_frames_from_the_uniform_distribution():
    rng, lengths = np.random.default_rng(4), np.array([7, 4], np.int32)
    logits = rng.normal(size=[7, 2, 5]).astype('f')
    labels = np.array([[1, 2], [3, 0]], np.int32), np.array([2, 1], np.int32)
    with tf.Graph().as_default(), tf.Session() as session:
        output = ctc.CtcOutput(tf.constant(logits), tf.constant(lengths))
        plain, smoothed = (
            ctc.losses(output, *labels, None, None, models.Criterion(ctc_smoothing=weight)) for weight in (0.0, 0.3)
        )
        plain, smoothed, gradient = session.run([plain, smoothed, tf.gradients(smoothed, output.logits)[0]])
    probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    for row, length in enumerate(lengths):
        divergence = sum(p * np.log(p / 0.2) for p in probs[:length, row].ravel())
        np.testing.assert_allclose(smoothed[row], 0.7 * plain[row] + 0.3 * divergence, rtol=1e-5)
        assert gradient[:length, row].any(1).all() and not gradient[length:, row].any()
