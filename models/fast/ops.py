"""Fast operations on rows `[rows, units]`: mixed-precision product, bias, batch normalisation.

Mixed precision keeps weights, states, sums and losses in float32 and computes products in a shorter type. The large
GEMMs of the dense and recurrent layers take most of a step's time, and bfloat16 speeds these up. Batch norm,
convolutions (whose spectra need the bits), attention, speller, logits and losses stay in float32.
"""

from collections.abc import Callable

import tensorflow.compat.v1 as tf

EPSILON = 1e-3  # added to the variance in batch normalisation
FAR = 100.0  # mean² / variance from which E[x²] - E[x]² loses 1e-3 of itself in float32; AN4's layers stay below 10


def matmul(x: tf.Tensor, weight: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
    """x · weight (or xᵀ · weight), computed in the weight's type; the result has the type of x.

    The hardware accumulates in float32 and rounds once. Gradients are computed in the same type.
    """
    if weight.dtype == x.dtype:
        return tf.matmul(x, weight, transpose_a=transpose_a)
    return tf.cast(tf.matmul(tf.cast(x, weight.dtype), weight, transpose_a=transpose_a), x.dtype)


@tf.custom_gradient
def add_bias(x: tf.Tensor, bias: tf.Tensor):
    """x `[rows, units]` + bias; the bias gradient is a GEMM, several times faster than BiasAddGrad on a CPU."""

    def gradient(dy):
        ones = tf.ones([1, tf.shape(dy)[0]], dy.dtype)
        return dy, tf.reshape(tf.matmul(ones, dy), [-1])

    return tf.nn.bias_add(x, bias), gradient


def scale_and_shift(x: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """x · scale + shift for each column of x `[rows, units]`, in one pass; a product and a sum would take two."""
    y, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x[:, tf.newaxis, tf.newaxis],
        scale=scale,
        offset=shift,
        mean=tf.zeros_like(scale),
        variance=tf.ones_like(scale) - EPSILON,
        epsilon=EPSILON,
        is_training=False,
    )
    return tf.reshape(y, tf.shape(x))


def normaliser(mask: tf.Tensor, repeats: int) -> Callable:
    """Batch normalisation with its own gradient: dx = gamma / sigma · (dy - mean(dy) - x̂ · mean(dy · x̂)).

    A unit whose mean is many deviations from zero is shifted by it first, so that the variance keeps its digits.

    Args:
      mask: `[rows, 1]`, 1 for real rows; the means are over real rows, and dx is zero on padding.
      repeats: occurrences of each unit in a row; all of them share one statistic.

    Returns:
      normalise(x `[rows, repeats · units]`, gamma `[units]`, bias `[units]`) -> (y, mean, variance).
    """
    count = tf.reduce_sum(mask)

    def mean(x):  # over real rows, as a GEMM, then over the repeats of each unit
        column_means = tf.matmul(mask, x, transpose_a=True) / count
        return tf.reduce_mean(tf.reshape(column_means, [repeats, -1]), 0)

    def spread(values):
        return tf.tile(values, [repeats])

    def moments(x):
        centre = mean(x)
        return x, centre, tf.maximum(mean(tf.square(x)) - tf.square(centre), 0)

    @tf.custom_gradient
    def normalise(x, gamma, bias):
        unshifted = _, centre, variance = moments(x)
        is_far = tf.square(centre) > FAR * (variance + EPSILON)
        pivot = tf.where(is_far, centre, tf.zeros_like(centre))
        # costs no pass where no unit is far, which is the rule
        x, centre, variance = tf.cond(tf.reduce_any(is_far), lambda: moments(x - spread(pivot)), lambda: unshifted)
        inverse = tf.rsqrt(variance + EPSILON)
        scale = gamma * inverse

        def gradient(dy, *_):
            mean_dy = mean(dy)
            mean_dy_x_hat = (mean(dy * x) - centre * mean_dy) * inverse
            slope = -scale * inverse * mean_dy_x_hat
            dx = dy * spread(scale) + scale_and_shift(x, spread(slope), spread(-scale * mean_dy - slope * centre))
            rows = count * repeats
            return dx * mask, mean_dy_x_hat * rows, mean_dy * rows

        y = scale_and_shift(x, spread(scale), spread(bias - centre * scale))
        return (y, pivot + centre, variance), gradient

    return normalise
