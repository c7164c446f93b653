"""Listen, Attend and Spell (Chan et al. 2015, arXiv 1508.01211), trained and decoded as in arXiv 1612.02695."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import PYRAMID_HALVINGS
from models.fast.losses import cross_entropies, ctc_losses, smoothed_targets
from models.layers import Phase
from models.listener import CTC_FRAMES, Listened, listen
from models.speller import Speller, make_speller, spell

TIME_STRIDE = 2**PYRAMID_HALVINGS
INITIAL_RANGE = 0.1  # weights start uniform in ±0.1 (section 4 of the paper)


class Las(NamedTuple):
    """A listener's output and the speller over it."""

    listened: Listened
    speller: Speller


def forward(features: tf.Tensor, lengths: tf.Tensor, config, phase: Phase) -> Las:
    """Builds the model over a batch; arguments as in `listener.listen`."""
    initializer = tf.random_uniform_initializer(-INITIAL_RANGE, INITIAL_RANGE)
    with tf.variable_scope('listener'):
        listened = listen(features, lengths, config, phase, initializer)
    with tf.variable_scope('speller'):
        return Las(listened, make_speller(listened, config, phase, initializer))


def losses(las: Las, labels: tf.Tensor, label_lengths: tf.Tensor, config, phase: Phase, criterion) -> tf.Tensor:
    """Loss of each utterance in nats a symbol: (1 - w) · cross-entropy + w · CTC, w = `config.ctc_weight`.

    The last class is `<sos>` before the transcript, `<eos>` behind it, and CTC's blank. An utterance whose transcript
    does not fit the CTC head's frames has no CTC share.

    Args:
      las: the model over the batch.
      labels: int32 `[batch, symbols]`.
      label_lengths: int32 `[batch]`.
      config: sizes and switches (`utils.config.ModelConfig`).
      phase: training or inference.
      criterion: `models.Criterion`.

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
    spelled = cross_entropies(logits, targets, label_lengths + 1) / num_symbols
    if las.listened.ctc_logits is None:
        return spelled
    frames = CTC_FRAMES * las.listened.lengths
    repeats = tf.logical_and(tf.equal(labels[:, 1:], labels[:, :-1]), tf.sequence_mask(label_lengths, steps - 1)[:, 1:])
    fits = label_lengths + tf.reduce_sum(tf.cast(repeats, tf.int32), 1) <= frames
    # one that does not fit is told apart before the loss, whose gradient would be no number
    heard = ctc_losses(
        las.listened.ctc_logits, frames, labels, tf.where(fits, label_lengths, tf.minimum(label_lengths, 1))
    )
    heard = tf.where(fits, heard, tf.zeros_like(heard)) / num_symbols
    return (1 - config.ctc_weight) * spelled + config.ctc_weight * heard
