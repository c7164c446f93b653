"""Deep Speech 2 (Amodei et al. 2016, arXiv 1512.02595): convolutions, recurrent layers, CTC."""

import tensorflow.compat.v1 as tf

from models.ctc import CtcOutput
from models.layers import Phase, convolution, dense, lookahead
from models.rnn import recurrent_layer

# (channels, (frames, frequencies), strides): table 3 of the paper, whose kernels are written frequency × time.
# Time is halved once, by the first layer.
FRONT_ENDS = {
    1: [(32, (11, 41), (2, 2))],
    2: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2))],
    3: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2)), (96, (11, 21), (1, 2))],
}
TIME_STRIDE = 2


def forward(features: tf.Tensor, lengths: tf.Tensor, config, phase: Phase) -> CtcOutput:
    """The acoustic model.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: sizes and switches (`utils.config.ModelConfig`).
      phase: training or inference.
    """
    mask = tf.expand_dims(tf.sequence_mask(lengths, tf.shape(features)[1], features.dtype), 2)
    x = tf.expand_dims(features * mask, 3)
    for i, (channels, kernel, strides) in enumerate(FRONT_ENDS[config.conv_layers], 1):
        x, lengths = convolution(x, lengths, channels, kernel, strides, phase, config.batch_norm, f'conv{i}')
    x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], int(x.shape[2]) * int(x.shape[3])])
    x = tf.transpose(x, [1, 0, 2])  # [time, batch, units] from here on
    mask = tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, tf.shape(x)[0], x.dtype)), 2)
    for i in range(1, config.rnn_layers + 1):
        x = recurrent_layer(
            phase.dropout(x, f'rnn{i}'),
            mask,
            config.hidden_units,
            f'rnn{i}',
            cell=config.rnn_cell,
            activation=config.activation,
            bidirectional=config.bidirectional,
            use_batch_norm=config.batch_norm,
            phase=phase,
        )
    if not config.bidirectional:
        x = lookahead(x, config.lookahead_frames, 'lookahead')
    logits = dense(phase.dropout(x, 'output'), config.classes, 'output')
    return CtcOutput(logits, lengths)
