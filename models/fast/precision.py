"""Mixed precision: float32 weights, states, sums and losses; products in a type of fewer bits.

The large GEMMs of the dense and recurrent layers are what a step's time goes into, and what bfloat16 makes faster.
Batch norm, convolutions (whose spectra want the bits), attention, speller, logits and losses stay in float32.
"""

import tensorflow.compat.v1 as tf


def matmul(x: tf.Tensor, weight: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
    """x · weight (or xᵀ · weight), multiplied in the weight's type; the result has the type of x.

    The hardware sums in float32 and rounds once. Gradients are products of the same type.
    """
    if weight.dtype == x.dtype:
        return tf.matmul(x, weight, transpose_a=transpose_a)
    return tf.cast(tf.matmul(tf.cast(x, weight.dtype), weight, transpose_a=transpose_a), x.dtype)
