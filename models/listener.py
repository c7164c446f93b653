"""The listener of Listen, Attend and Spell: recurrent layers in a pyramid that shortens time."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.convolution import front_end, output_length
from models.layers import Phase, dense
from models.rnn import recurrent_layer

CTC_FRAMES = 2  # the CTC head reads so many output frames from one listened frame


class Listened(NamedTuple):
    """What the speller attends to.

    Attributes:
      memory: `[batch, frames, units]`, zero on padding.
      mask: `[batch, frames]`, 1 for real frames.
      lengths: int32 `[batch]`, frames.
      ctc_logits: `[CTC_FRAMES · frames, batch, classes]`, the blank last; None without a CTC head.
    """

    memory: tf.Tensor
    mask: tf.Tensor
    lengths: tf.Tensor
    ctc_logits: tf.Tensor | None


def _halve(x, lengths):
    """Concatenates neighbouring frames of `[time, batch, units]`; an odd last frame gets a zero neighbour."""
    x = tf.pad(x, [[0, tf.shape(x)[0] % 2], [0, 0], [0, 0]])
    units = 2 * int(x.shape[2])
    pairs = tf.reshape(x, [tf.shape(x)[0] // 2, 2, -1, units // 2])
    return tf.reshape(tf.transpose(pairs, [0, 2, 1, 3]), [tf.shape(pairs)[0], -1, units]), output_length(lengths, 2)


def listen(features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase, initializer) -> Listened:
    """Features to what the speller attends to.

    The first layer hears every frame, the next three each a pair of frames of the layer below, any further ones stand
    on top, where time is short. With three layers in all, the first of them pairs the features themselves. Where the
    listener begins with convolutions (Zhang et al. 2016, arXiv 1610.03022), theirs is the first halving.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: sizes and switches (`models.config.ModelConfig`).
      phase: training or inference.
      initializer: of the kernels.
    """
    if config.conv_layers:
        x, lengths = front_end(features, lengths, config, phase)  # [time, batch, units] from here on
    else:
        x = tf.transpose(features, [1, 0, 2])
        x *= _time_mask(x, lengths)
    num_halvings = config.num_halvings
    num_plain = 1 if config.rnn_layers > num_halvings else 0
    for i in range(config.rnn_layers):
        if num_plain <= i < num_plain + num_halvings:
            x, lengths = _halve(x, lengths)
        x = recurrent_layer(
            phase.dropout(x, f'listener{i + 1}') if i or config.conv_layers else x,
            _time_mask(x, lengths),
            config.hidden_units,
            f'listener{i + 1}',
            cell=config.rnn_cell,
            activation=config.activation,
            bidirectional=config.bidirectional,
            merge='concat',
            use_batch_norm=config.batch_norm,
            initializer=initializer,
            phase=phase,
        )
    ctc_logits = None
    if config.ctc_weight:
        # at an eighth of the frames many a transcript would not fit: each listened frame speaks for two
        ctc_logits = dense(phase.dropout(x, 'ctc'), CTC_FRAMES * config.classes, 'ctc', initializer)
        ctc_logits = tf.reshape(ctc_logits, [tf.shape(x)[0], -1, CTC_FRAMES, config.classes])
        ctc_logits = tf.reshape(
            tf.transpose(ctc_logits, [0, 2, 1, 3]), [CTC_FRAMES * tf.shape(x)[0], -1, config.classes]
        )
    mask = tf.sequence_mask(lengths, tf.shape(x)[0], x.dtype)
    return Listened(tf.transpose(phase.dropout(x, 'memory'), [1, 0, 2]), mask, lengths, ctc_logits)


def _time_mask(x, lengths):
    return tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, tf.shape(x)[0], x.dtype)), 2)
