"""Listen, Attend and Spell (Chan et al. 2015, arXiv 1508.01211), trained and decoded as in arXiv 1612.02695."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import PYRAMID_HALVINGS, ModelConfig
from models.ctc import smoothed_losses
from models.layers import Phase
from models.listener import CTC_FRAMES, Listened, listen
from models.speller import Speller, make_speller, spell

TIME_STRIDE = 2**PYRAMID_HALVINGS
INITIAL_RANGE = 0.1  # weights start uniform in ±0.1 (section 4 of the paper)
UNIGRAM_TRUTH, NEIGHBORHOOD_TRUTH = 0.95, 0.9
NEIGHBOR_WEIGHTS = {1: 5.0, 2: 2.0}


class Las(NamedTuple):
    """Encoder output and the speller over it."""

    listened: Listened
    speller: Speller


def forward(features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase) -> Las:
    """Builds the model; arguments as in `deepspeech2.forward`. The papers have neither the CTC head nor dropout."""
    initializer = tf.random_uniform_initializer(-INITIAL_RANGE, INITIAL_RANGE)
    with tf.variable_scope('listener'):
        listened = listen(features, lengths, config, phase, initializer)
    with tf.variable_scope('speller'):
        return Las(listened, make_speller(listened, config, phase, initializer))


def losses(
    las: Las, labels: tf.Tensor, label_lengths: tf.Tensor, config: ModelConfig, phase: Phase, criterion
) -> tf.Tensor:
    """Loss of each utterance in nats per symbol: (1 - w) · cross-entropy + w · CTC.

    w is the criterion's `ctc_weight`, or that of the configuration. The last class is `<sos>` before the transcript,
    `<eos>` after it, and the blank of CTC. The CTC loss of an utterance whose transcript does not fit the frames of the
    CTC head is 0.

    Args:
      las: model over the batch.
      labels: int32 `[batch, symbols]`.
      label_lengths: int32 `[batch]`.
      config: model configuration.
      phase: training or inference.
      criterion: smoothing, scheduled sampling, weight of CTC (`models.Criterion`).

    Returns:
      `[batch]`.
    """
    end = config.classes - 1
    steps = tf.shape(labels)[1] + 1
    inputs = tf.pad(tf.transpose(labels), [[1, 0], [0, 0]], constant_values=end)  # [steps, batch]
    logits = tf.transpose(spell(las.speller, inputs, phase, criterion.sample_prob), [1, 0, 2])
    is_symbol = tf.sequence_mask(label_lengths, steps)
    targets = tf.where(is_symbol, tf.pad(labels, [[0, 0], [0, 1]]), tf.fill(tf.shape(is_symbol), end))
    targets = smoothed_targets(
        targets, label_lengths, config.classes, criterion.smoothing, criterion.symbol_frequencies
    )
    num_symbols = tf.cast(label_lengths + 1, logits.dtype)
    cross_entropy = cross_entropies(logits, targets, label_lengths + 1) / num_symbols
    if las.listened.ctc_logits is None:
        return cross_entropy
    frames = CTC_FRAMES * las.listened.lengths
    ctc_loss = smoothed_losses(las.listened.ctc_logits, frames, labels, label_lengths, criterion.ctc_smoothing)
    ctc_loss = tf.where(tf.is_inf(ctc_loss), tf.zeros_like(ctc_loss), ctc_loss) / num_symbols
    weight = config.ctc_weight if criterion.ctc_weight is None else criterion.ctc_weight
    return (1 - weight) * cross_entropy + weight * ctc_loss


def smoothed_targets(
    symbols: tf.Tensor, label_lengths: tf.Tensor, classes: int, smoothing: str, symbol_frequencies=()
) -> tf.Tensor:
    """Target distributions with label smoothing (arXiv 1612.02695, section 2.3).

    Args:
      symbols: int32 `[batch, steps]`: the transcript, then `<eos>`.
      label_lengths: int32 `[batch]`, symbols of the transcripts without `<eos>`.
      classes: number of classes.
      smoothing: `none`: one-hot. `unigram`: 0.95 on the symbol, the rest by frequency. `neighborhood`: 0.9 on the
        symbol, the rest on the symbols one and two steps away in the ratio 5:2, as far as there are any. `<eos>` has
        neighbours but is not a neighbour itself, which would end hypotheses early.
      symbol_frequencies: `[classes]`, summing to one; for `unigram`.

    Returns:
      `[batch, steps, classes]`, each distribution summing to one.
    """
    truth = tf.one_hot(symbols, classes)
    if smoothing == 'none':
        return truth
    if smoothing == 'unigram':
        return UNIGRAM_TRUTH * truth + (1 - UNIGRAM_TRUTH) * tf.constant(symbol_frequencies, tf.float32)
    steps = tf.shape(symbols)[1]
    in_transcript = truth * tf.expand_dims(tf.sequence_mask(label_lengths, steps, tf.float32), 2)
    neighbors = tf.zeros_like(truth)
    for distance, weight in NEIGHBOR_WEIGHTS.items():
        padded = tf.pad(in_transcript, [[0, 0], [distance, distance], [0, 0]])
        neighbors += weight * (padded[:, :steps] + padded[:, 2 * distance :])
    total = tf.reduce_sum(neighbors, 2, keepdims=True)
    spread = (1 - NEIGHBORHOOD_TRUTH) * tf.math.divide_no_nan(neighbors, total)
    return tf.where(tf.tile(total > 0, [1, 1, classes]), NEIGHBORHOOD_TRUTH * truth + spread, truth)


def cross_entropies(logits: tf.Tensor, targets: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each utterance, summed over its steps, in nats.

    Args:
      logits: `[batch, steps, classes]`.
      targets: distributions, `[batch, steps, classes]`.
      lengths: int32 `[batch]`, steps.

    Returns:
      `[batch]`.
    """
    costs = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(targets), logits=logits)
    return tf.reduce_sum(costs * tf.sequence_mask(lengths, tf.shape(logits)[1], costs.dtype), 1)
