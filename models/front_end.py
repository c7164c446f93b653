"""The convolutions over time and frequency that Deep Speech 2 begins with."""

import tensorflow.compat.v1 as tf

from models.convolution import conv2d, output_length
from models.layers import Phase, batch_norm, clipped_relu

# (channels, (frames, frequencies), strides): table 3 of the paper, whose kernels are written frequency × time.
# Time is halved once, by the first layer.
FRONT_ENDS = {
    1: [(32, (11, 41), (2, 2))],
    2: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2))],
    3: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2)), (96, (11, 21), (1, 2))],
}
TIME_STRIDE = 2


def front_end(features: tf.Tensor, lengths: tf.Tensor, config, phase: Phase) -> tuple[tf.Tensor, tf.Tensor]:
    """As many convolutions as the configuration says.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: sizes and switches (`utils.config.ModelConfig`).
      phase: training or inference.

    Returns:
      `[time / 2, batch, units]`, zero beyond the new lengths, and these.
    """
    mask = tf.expand_dims(tf.sequence_mask(lengths, tf.shape(features)[1], features.dtype), 2)
    x = tf.expand_dims(features * mask, 3)
    for i, (channels, kernel, strides) in enumerate(FRONT_ENDS[config.conv_layers], 1):
        x, lengths = convolution(x, lengths, channels, kernel, strides, phase, config.batch_norm, f'conv{i}')
    x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], int(x.shape[2]) * int(x.shape[3])])
    return tf.transpose(x, [1, 0, 2]), lengths


def convolution(x, lengths, channels, kernel_size, strides, phase: Phase, use_batch_norm: bool, scope: str):
    """One layer of Deep Speech 2's front end: convolution, batch norm, clipped ReLU, mask.

    Args:
      x: `[batch, time, frequency, channels]`, zero beyond each length.
      lengths: int32 `[batch]`, frames.
      channels: output channels.
      kernel_size: (frames, frequencies).
      strides: (frames, frequencies).
      phase: training or inference.
      use_batch_norm: normalise each channel before the non-linearity.
      scope: name of the variables.

    Returns:
      `[batch, time / stride, frequency / stride, channels]`, zero beyond the new lengths, and these lengths.
    """
    with tf.variable_scope(scope):
        shape = [*kernel_size, int(x.shape[3]), channels]
        kernel = tf.get_variable('kernel', shape, initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable('bias', [channels], initializer=tf.zeros_initializer())
        y = conv2d(x, tf.convert_to_tensor(kernel), *strides)
        frequencies = int(y.shape[2])
        lengths = output_length(lengths, strides[0])
        mask = tf.reshape(tf.sequence_mask(lengths, tf.shape(y)[1], y.dtype), [-1, 1])
        rows = tf.reshape(y, [-1, frequencies * channels])
        if use_batch_norm:
            rows = batch_norm(rows, mask, bias, phase, 'batch_norm', repeats=frequencies)
        else:
            rows += tf.tile(bias, [frequencies])
        rows = clipped_relu(rows) * mask
    y = tf.reshape(rows, tf.shape(y))
    y.set_shape([None, None, frequencies, channels])
    return y, lengths
