"""The listener of Listen, Attend and Spell: recurrent layers in a pyramid that shortens time."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.convolution import front_end, output_length
from models.layers import Phase, dense
from models.rnn import recurrent_layer

CTC_FRAMES = 2  # output frames of the CTC head per encoder frame


class Listened(NamedTuple):
    """Encoder output.

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
    """Concatenates pairs of frames of `[time, batch, units]`; an odd last frame is paired with zeros."""
    x = tf.pad(x, [[0, tf.shape(x)[0] % 2], [0, 0], [0, 0]])
    units = 2 * int(x.shape[2])
    pairs = tf.reshape(x, [tf.shape(x)[0] // 2, 2, -1, units // 2])
    return tf.reshape(tf.transpose(pairs, [0, 2, 1, 3]), [tf.shape(pairs)[0], -1, units]), output_length(lengths, 2)


def listen(features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase, initializer) -> Listened:
    """Encodes features with a pyramid of recurrent layers.

    The first layer runs at the full frame rate, each of the next three on pairs of frames of the layer below, and any
    further layers at the lowest rate. With three layers in all, the first one pairs the features themselves. Where the
    listener begins with convolutions (Zhang et al. 2016, arXiv 1610.03022), these make the first halving.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: model configuration.
      phase: training or inference.
      initializer: initializer of the kernels.
    """
    if config.conv_layers:
        x, lengths = front_end(features, lengths, config, phase)  # [time, batch, units] from here on
    else:
        x = tf.transpose(features, [1, 0, 2])
        x *= _time_mask(x, lengths)
    num_plain = 1 if config.rnn_layers > config.num_halvings else 0
    for i in range(config.rnn_layers):
        if num_plain <= i < num_plain + config.num_halvings:
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
            lengths=lengths,
            phase=phase,
        )
    ctc_logits = None
    if config.ctc_weight:
        # an eighth of the frames would be too few for many transcripts: each encoder frame gives two output frames
        ctc_logits = dense(phase.dropout(x, 'ctc'), CTC_FRAMES * config.classes, 'ctc', initializer)
        ctc_logits = tf.reshape(ctc_logits, [tf.shape(x)[0], -1, CTC_FRAMES, config.classes])
        ctc_logits = tf.transpose(ctc_logits, [0, 2, 1, 3])
        ctc_logits = tf.reshape(ctc_logits, [CTC_FRAMES * tf.shape(x)[0], -1, config.classes])
    mask = tf.sequence_mask(lengths, tf.shape(x)[0], x.dtype)
    return Listened(tf.transpose(phase.dropout(x, 'memory'), [1, 0, 2]), mask, lengths, ctc_logits)


def _time_mask(x, lengths):
    return tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, tf.shape(x)[0], x.dtype)), 2)
