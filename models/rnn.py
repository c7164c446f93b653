"""Recurrent layers: input projection, batch norm, one or two directions. Time-major: `[time, batch, units]`."""

import tensorflow.compat.v1 as tf

from models.cells import NUM_GATES, initial_bias
from models.fast.ops import add_bias, matmul
from models.fast.recurrence import recurrence
from models.layers import ACTIVATIONS, Phase, batch_norm


def _per_gate(initializer, num_gates):
    """Applies an initializer to each gate's columns separately, so that its scale does not depend on their number."""

    def initialize(shape, dtype=tf.float32, partition_info=None):
        block = [shape[0], shape[1] // num_gates]
        return tf.concat([initializer(block, dtype) for _ in range(num_gates)], 1)

    return initialize


def _direction(x, mask, units, cell, activation, use_batch_norm, phase, reverse, initializer, scope):
    """One direction of a layer: x `[time, batch, inputs]`, mask `[time, batch, 1]` to `[time, batch, units]`."""
    inputs, gates = int(x.shape[2]), NUM_GATES[cell]
    # each direction has its own variables: slices of shared ones would be copies; the two loops run in parallel
    with tf.variable_scope(scope):
        matrices = [('kernel', inputs, tf.glorot_uniform_initializer())]
        matrices += [('recurrent_kernel', units, tf.orthogonal_initializer())]
        kernel, recurrent = (
            tf.get_variable(name, [rows, gates * units], initializer=initializer or _per_gate(default, gates))
            for name, rows, default in matrices
        )
        bias = tf.get_variable('bias', initializer=initial_bias(cell, units))
        projected = matmul(tf.reshape(x, [-1, inputs]), tf.cast(kernel, phase.dtype))
        if use_batch_norm:
            projected = batch_norm(projected, tf.reshape(mask, [-1, 1]), bias, phase, 'batch_norm')
        else:
            projected = add_bias(projected, tf.convert_to_tensor(bias))
    projected = tf.reshape(projected, [tf.shape(x)[0], tf.shape(x)[1], gates * units])
    projected.set_shape([None, x.shape[1], gates * units])
    return recurrence(cell, projected, tf.cast(recurrent, phase.dtype), mask, ACTIVATIONS[activation], reverse)


def recurrent_layer(
    x: tf.Tensor,
    mask: tf.Tensor,
    units: int,
    scope: str,
    *,
    cell: str = 'gru',
    activation: str = 'tanh',
    bidirectional: bool = True,
    merge: str = 'sum',
    use_batch_norm: bool = False,
    initializer=None,
    phase: Phase,
) -> tf.Tensor:
    """h_t = f(BN(W x_t) + U h_{t-1} + b), in one or both directions (Deep Speech 2, eq. 9).

    Args:
      x: `[time, batch, inputs]`, zero on padding.
      mask: `[time, batch, 1]`, 1 for real frames.
      units: units of each direction.
      scope: name of the variables.
      cell: gru, lstm or rnn.
      activation: non-linearity f, a name in `layers.ACTIVATIONS`.
      bidirectional: whether to run backward in time as well.
      merge: `sum` or `concat` of the two directions.
      use_batch_norm: whether to normalise the input projection, sequence-wise.
      initializer: initializer of both kernels; by default Glorot uniform for the input, orthogonal for the recurrence.
      phase: training or inference.

    Returns:
      `[time, batch, units]` (`2 · units` for `concat`), zero on padding.
    """
    with tf.variable_scope(scope):
        directions = [
            _direction(x, mask, units, cell, activation, use_batch_norm, phase, reverse, initializer, name)
            for reverse, name in ((False, 'forward'), (True, 'backward'))[: 2 if bidirectional else 1]
        ]
    if bidirectional:
        y = directions[0] + directions[1] if merge == 'sum' else tf.concat(directions, 2)
    else:
        y = directions[0]
    return y * mask
