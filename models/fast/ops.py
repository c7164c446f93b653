"""Mixed precision: float32 weights, states, sums and losses; products in a type of fewer bits.

The large GEMMs of the dense and recurrent layers are what a step's time goes into, and what bfloat16 makes faster.
Batch norm, convolutions (whose spectra want the bits), attention, speller, logits and losses stay in float32.
"""

import tensorflow.compat.v1 as tf

EPSILON = 1e-3


def matmul(x: tf.Tensor, weight: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
    """x · weight (or xᵀ · weight), multiplied in the weight's type; the result has the type of x.

    The hardware sums in float32 and rounds once. Gradients are products of the same type.
    """
    if weight.dtype == x.dtype:
        return tf.matmul(x, weight, transpose_a=transpose_a)
    return tf.cast(tf.matmul(tf.cast(x, weight.dtype), weight, transpose_a=transpose_a), x.dtype)


@tf.custom_gradient
def add_bias(x, bias):
    """x `[rows, units]` + bias; the bias gradient is a GEMM, several times faster than BiasAddGrad on a CPU."""

    def gradient(dy):
        ones = tf.ones([1, tf.shape(dy)[0]], dy.dtype)
        return dy, tf.reshape(tf.matmul(ones, dy), [-1])

    return tf.nn.bias_add(x, bias), gradient


def scale_and_shift(x, scale, shift):
    """x · scale + shift for each column of x `[rows, units]`, in one pass where a product and a sum take two."""
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


def normaliser(mask, repeats):
    """Batch normalisation of rows as a function of (x, gamma, bias), with its own gradient.

    With n real rows: dx = gamma / sigma · (dy - mean(dy) - x̂ · mean(dy · x̂)), zero on padding.
    """
    count = tf.reduce_sum(mask)

    def mean(x):  # of the real rows, as a GEMM, then over the repeats of each unit
        column_means = tf.matmul(mask, x, transpose_a=True) / count
        return tf.reduce_mean(tf.reshape(column_means, [repeats, -1]), 0)

    def spread(values):
        return tf.tile(values, [repeats])

    @tf.custom_gradient
    def normalise(x, gamma, bias):
        centre = mean(x)
        variance = tf.maximum(mean(tf.square(x)) - tf.square(centre), 0)
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
        return (y, centre, variance), gradient

    return normalise
