"""Deep Speech (Hannun et al. 2014, arXiv 1412.5567): dense layers around one recurrent layer, CTC."""

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.convolution import output_length
from models.ctc import CtcOutput
from models.layers import ACTIVATIONS, Phase, dense
from models.rnn import recurrent_layer


def with_context(features: tf.Tensor, context: int, stride: int = 1) -> tf.Tensor:
    """Joins neighbouring frames: `[batch, time, features]` to `[batch, time / stride, windows of frames]`."""
    frames = tf.shape(features)[1]
    padded = tf.pad(features, [[0, 0], [context, context], [0, 0]])
    return tf.concat([padded[:, i : i + frames : stride] for i in range(2 * context + 1)], 2)


def forward(features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase) -> CtcOutput:
    """Builds the acoustic model; arguments as in `deepspeech2.forward`.

    Layers 1-3 act on single frames (the first one with context), layer 4 is recurrent, layer 5 is dense over the sum of
    the two directions (section 2). Dropout is on the dense layers only, never across time (section 2.1). The stride
    over input frames of section 3.3 is `frame_stride`; the average over jittered inputs of section 2.1 is left out.
    """
    activation = ACTIVATIONS[config.activation].function
    mask = tf.expand_dims(tf.sequence_mask(lengths, tf.shape(features)[1], features.dtype), 2)
    x = with_context(features * mask, config.context_frames, config.frame_stride)
    mask, lengths = mask[:, :: config.frame_stride], output_length(lengths, config.frame_stride)
    x, mask = tf.transpose(x, [1, 0, 2]), tf.transpose(mask, [1, 0, 2])  # [time, batch, units] from here on
    for i in (1, 2, 3):
        x = phase.dropout(activation(dense(x, config.hidden_units, f'dense{i}', dtype=phase.dtype)), f'dense{i}')
    x = recurrent_layer(
        x * mask,
        mask,
        config.hidden_units,
        'rnn4',
        cell=config.rnn_cell,
        activation=config.activation,
        bidirectional=config.bidirectional,
        use_batch_norm=config.batch_norm,
        lengths=lengths,
        phase=phase,
    )
    x = phase.dropout(activation(dense(x, config.hidden_units, 'dense5', dtype=phase.dtype)), 'dense5')
    return CtcOutput(dense(x, config.classes, 'output'), lengths)
