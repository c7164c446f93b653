"""Deep Speech 2 (Amodei et al. 2016, arXiv 1512.02595): convolutions, recurrent layers, CTC."""

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.convolution import front_end
from models.ctc import CtcOutput
from models.layers import ACTIVATIONS, Phase, dense, lookahead
from models.rnn import recurrent_layer


def forward(features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase) -> CtcOutput:
    """Builds the acoustic model: convolutions, recurrent layers, dense layers, softmax (section 3).

    The dropout is not the paper's, which has a dense layer or more; `dense_layers` is 0 by default.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: model configuration.
      phase: training or inference.
    """
    x, lengths = front_end(features, lengths, config, phase)  # [time, batch, units] from here on
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
            lengths=lengths,
            phase=phase,
        )
    if not config.bidirectional:
        x = lookahead(x, config.lookahead_frames, 'lookahead')
    for i in range(1, config.dense_layers + 1):
        x = dense(phase.dropout(x, f'dense{i}'), config.hidden_units, f'dense{i}', dtype=phase.dtype)
        x = ACTIVATIONS[config.activation].function(x)
    logits = dense(phase.dropout(x, 'output'), config.classes, 'output')
    return CtcOutput(logits, lengths)
