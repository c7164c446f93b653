"""Masked layers: dense, batch norm, lookahead, dropout. Padded frames never contribute to a result.

Rows `[rows, units]` are all frames of a batch, flattened; a row mask `[rows, 1]` is 1 for real frames, 0 for padding.
"""

import dataclasses
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import tensorflow.compat.v1 as tf

from models.cells import Activation
from models.fast.ops import EPSILON, add_bias, matmul, normaliser, scale_and_shift

CLIP = 20.0  # ceiling of the clipped ReLU, g(z) = min(max(z, 0), 20) (Deep Speech, eq. 1)
MOVING_AVERAGE_DECAY = 0.99
NOISE_STREAM = 104729  # offset of the seed of input noise from those of dropout


def clipped_relu(z: tf.Tensor) -> tf.Tensor:
    """ReLU clipped at CLIP."""
    return tf.clip_by_value(z, 0.0, CLIP)


ACTIVATIONS = {
    'relu': Activation(clipped_relu, lambda y: tf.cast((y > 0) & (y < CLIP), y.dtype)),
    'tanh': Activation(tf.tanh, lambda y: 1 - y * y),
    'sigmoid': Activation(tf.sigmoid, lambda y: y * (1 - y)),
    'elu': Activation(tf.nn.elu, lambda y: tf.minimum(y, 0) + 1),
}


@dataclasses.dataclass
class Phase:
    """Mode of a graph: the differences between training and inference.

    Attributes:
      is_training: whether to normalise by the batch's own statistics and to apply dropout and noise.
      keep_prob: probability that dropout keeps a unit; 1 keeps all.
      seed: int32 `[2]`, new for each step and replica; the same seed drops the same units.
      dtype: type of the large matrix products (see `models.fast.ops`).
      step: training steps done so far; moving averages move faster in the first steps, away from their initial values.
      recurrence: form of the recurrent layers: `loop`; `cudnn`, on GPUs only (`models.fast.cudnn`); or `portable`, for
        inference in other runtimes than TensorFlow (`models.fast.portable`), which has a form of the convolutions too.
      statistics: (moving average, new value) pairs that the layers append and the trainer assigns.
    """

    is_training: bool = False
    keep_prob: float = 1.0
    seed: tf.Tensor | None = None
    dtype: tf.DType = tf.float32
    step: tf.Tensor | int = 10**6
    recurrence: str = 'loop'
    statistics: list = dataclasses.field(default_factory=list)

    def dropout(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Zeroes units of x with probability 1 - keep_prob, scales the others up; `name` selects the random stream."""
        if not self.is_training or self.keep_prob >= 1:
            return x
        seed = self.seed + tf.constant([zlib.crc32(name.encode()) & 0x3FFFFFFF, 0])
        keep = tf.random.stateless_uniform(tf.shape(x), seed) < self.keep_prob
        return x * (tf.cast(keep, x.dtype) / self.keep_prob)

    def noise(self, x: tf.Tensor, deviation: float) -> tf.Tensor:
        """Adds Gaussian noise of this standard deviation to x in training."""
        if not self.is_training or not deviation:
            return x
        return x + deviation * tf.random.stateless_normal(tf.shape(x), self.seed + tf.constant([NOISE_STREAM, 0]))

    def noisy_weights(self, deviation: tf.Tensor) -> AbstractContextManager:
        """Scope in which kernels and embeddings are read with Gaussian noise (Graves 2011), for training.

        These are the trainable variables of two axes and more. The noise is drawn once for each step and replica, so
        that a kernel is the same at all frames; a gradient by the noisy weights is that by the weights.

        Args:
          deviation: standard deviation of the noise, a scalar.
        """

        def read(getter, name, *args, **settings):
            variable = getter(name, *args, **settings)
            if not variable.trainable or variable.shape.ndims < 2:
                return variable
            seed = self.seed + tf.constant([zlib.crc32(f'noise of {name}'.encode()) & 0x3FFFFFFF, 0])
            return tf.convert_to_tensor(variable) + deviation * tf.random.stateless_normal(variable.shape, seed)

        return tf.variable_scope(tf.get_variable_scope(), custom_getter=read)


def affine(inputs: int, units: int, scope: str, initializer=None, dtype=tf.float32) -> Callable[[tf.Tensor], tf.Tensor]:
    """Creates the variables of an affine map of the last axis and returns it, `[..., inputs]` to `[..., units]`.

    Args:
      inputs: size of the last axis.
      units: size of the result's last axis.
      scope: name of the variables.
      initializer: initializer of the kernel; Glorot uniform by default.
      dtype: type of the product.
    """
    with tf.variable_scope(scope):
        initializer = initializer or tf.glorot_uniform_initializer()
        kernel = tf.cast(tf.get_variable('kernel', [inputs, units], initializer=initializer), dtype)
        bias = tf.convert_to_tensor(tf.get_variable('bias', [units], initializer=tf.zeros_initializer()))

    def apply(x):
        y = tf.reshape(
            add_bias(matmul(tf.reshape(x, [-1, inputs]), kernel), bias), tf.concat([tf.shape(x)[:-1], [units]], 0)
        )
        y.set_shape(x.shape[:-1].concatenate(units))
        return y

    return apply


def dense(x: tf.Tensor, units: int, scope: str, initializer=None, dtype=tf.float32) -> tf.Tensor:
    """Affine map of the last axis, `[..., inputs]` to `[..., units]`; other arguments as in `affine`."""
    return affine(int(x.shape[-1]), units, scope, initializer, dtype)(x)


def batch_norm(x: tf.Tensor, mask: tf.Tensor, bias: tf.Tensor, phase: Phase, scope: str, repeats: int = 1) -> tf.Tensor:
    """Sequence-wise batch normalisation (Deep Speech 2, section 3.2), which adds the layer's bias in the same pass.

    In training the statistics are those of the batch's real frames, and the updates of their moving averages are
    appended to `phase.statistics`; at inference the moving averages are used.

    Args:
      x: `[rows, repeats · units]`.
      mask: `[rows, 1]`, 1 for real frames.
      bias: `[units]`, bias of the layer.
      phase: training or inference.
      scope: name of the variables gamma, moving_mean, moving_variance.
      repeats: occurrences of each unit in a row (the frequencies of a convolution's channel share one statistic).

    Returns:
      `[rows, repeats · units]`, not masked.
    """
    units = int(x.shape[-1]) // repeats
    gamma, *moving = _batch_norm_variables(units, scope)
    gamma, bias = tf.convert_to_tensor(gamma), tf.convert_to_tensor(bias)
    if phase.is_training:
        y, mean, variance = normaliser(mask, repeats)(x, gamma, bias)
        _move_averages(moving, (mean, variance), phase)
    else:
        moving_mean, moving_variance = moving
        scale = gamma * tf.rsqrt(moving_variance + EPSILON)
        y = scale_and_shift(x, tf.tile(scale, [repeats]), tf.tile(bias - moving_mean * scale, [repeats]))
    y.set_shape(x.shape)
    return y


def _batch_norm_variables(units, scope):
    """Creates gamma, moving mean and moving variance, each `[units]`."""
    zeros, ones = tf.zeros_initializer(), tf.ones_initializer()
    with tf.variable_scope(scope):
        gamma = tf.get_variable('gamma', [units], initializer=ones)
        moving_mean = tf.get_variable('moving_mean', [units], initializer=zeros, trainable=False)
        moving_variance = tf.get_variable('moving_variance', [units], initializer=ones, trainable=False)
    return gamma, moving_mean, moving_variance


def _move_averages(averages, values, phase):
    """Appends the updates of moving averages by a batch's values to `phase.statistics`."""
    step = tf.cast(phase.step, values[0].dtype)
    share = tf.maximum(1 - MOVING_AVERAGE_DECAY, 9 / (10 + step))
    for average, value in zip(averages, values, strict=True):
        phase.statistics.append((average, average + (value - average) * share))


def folded_batch_norm(
    x: tf.Tensor, kernel: tf.Tensor, mask: tf.Tensor, bias: tf.Tensor, phase: Phase, scope: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """`batch_norm` of x W as another kernel and bias: BN(x W) = x W' + b', W' = W γ / σ, b' = β - μ γ / σ.

    In training a product of its own gives the statistics of x W, and gradients pass through them.

    Args:
      x: `[time, batch, inputs]`.
      kernel: `[inputs, units]`, W.
      mask: `[time, batch, 1]`, 1 for real frames.
      bias, phase, scope: as for `batch_norm`, whose variables it shares.

    Returns:
      W' and b'.
    """
    gamma, *moving = _batch_norm_variables(int(kernel.shape[1]), scope)
    if phase.is_training:
        rows, real = tf.reshape(x, [-1, int(kernel.shape[0])]), tf.reshape(mask, [-1, 1])
        count, projected = tf.reduce_sum(real), tf.matmul(rows, kernel)
        mean = tf.reduce_sum(projected * real, 0) / count
        variance = tf.reduce_sum(tf.square((projected - mean) * real), 0) / count
        _move_averages(moving, (mean, variance), phase)
    else:
        mean, variance = map(tf.convert_to_tensor, moving)
    scale = gamma * tf.rsqrt(variance + EPSILON)
    return kernel * scale, bias - mean * scale


def lookahead(x: tf.Tensor, future_frames: int, scope: str) -> tf.Tensor:
    """Row convolution (Deep Speech 2, section 3.6): r[t, i] = sum over j = 0..τ of W[i, j] · h[t + j, i].

    Args:
      x: `[time, batch, units]`, zero beyond each length.
      future_frames: context τ, in frames.
      scope: name of the variable.
    """
    units = int(x.shape[2])
    with tf.variable_scope(scope):
        # initially each output is nearly its own frame: small weights on the future
        initial = tf.concat([tf.ones([1, units]), tf.random.normal([future_frames, units], stddev=0.01, seed=1)], 0)
        kernel = tf.get_variable('kernel', initializer=initial)
    frames = tf.shape(x)[0]
    padded = tf.pad(x, [[0, future_frames], [0, 0], [0, 0]])
    return tf.add_n([padded[j : j + frames] * kernel[j] for j in range(future_frames + 1)])
