"""Recurrent layers: input projection, batch norm, one or two directions. Time-major: `[time, batch, units]`.

`models.fast` has the forms of the recurrence, with the same variables: a loop for any device, cuDNN's operation, and a
loop for other runtimes than TensorFlow.
"""

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from models.cells import NUM_GATES, initial_bias
from models.fast import cudnn, portable
from models.fast.ops import add_bias, matmul
from models.fast.recurrence import recurrence
from models.layers import ACTIVATIONS, Phase, batch_norm, folded_batch_norm


def _per_gate(initializer, num_gates):
    """Applies an initializer to each gate's columns separately, so that its scale does not depend on their number."""

    def initialize(shape, dtype=tf.float32, partition_info=None):
        block = [shape[0], shape[1] // num_gates]
        return tf.concat([initializer(block, dtype) for _ in range(num_gates)], 1)

    return initialize


def _weights(inputs, units, cell, initializer):
    """Creates kernel, recurrent kernel and bias of one direction."""
    gates = NUM_GATES[cell]
    matrices = [('kernel', inputs, tf.glorot_uniform_initializer())]
    matrices += [('recurrent_kernel', units, tf.orthogonal_initializer())]
    kernel, recurrent = (
        tf.get_variable(name, [rows, gates * units], initializer=initializer or _per_gate(default, gates))
        for name, rows, default in matrices
    )
    return kernel, recurrent, tf.get_variable('bias', initializer=initial_bias(cell, units))


def _direction(x, mask, units, cell, activation, use_batch_norm, phase, reverse, initializer, run, scope):
    """One direction of a layer: x `[time, batch, inputs]`, mask `[time, batch, 1]` to `[time, batch, units]`."""
    inputs, gates = int(x.shape[2]), NUM_GATES[cell]
    # each direction has its own variables: slices of shared ones would be copies; the two loops run in parallel
    with tf.variable_scope(scope):
        kernel, recurrent, bias = _weights(inputs, units, cell, initializer)
        projected = matmul(tf.reshape(x, [-1, inputs]), tf.cast(kernel, phase.dtype))
        if use_batch_norm:
            projected = batch_norm(projected, tf.reshape(mask, [-1, 1]), bias, phase, 'batch_norm')
        else:
            projected = add_bias(projected, tf.convert_to_tensor(bias))
    projected = tf.reshape(projected, [tf.shape(x)[0], tf.shape(x)[1], gates * units])
    projected.set_shape([None, x.shape[1], gates * units])
    return run(cell, projected, tf.cast(recurrent, phase.dtype), mask, ACTIVATIONS[activation], reverse)


def _directions_by_cudnn(x, mask, lengths, units, cell, use_batch_norm, phase, initializer, scopes):
    """All directions of a layer in float32, with the variables of `_direction`: a list of `[time, batch, units]`."""
    directions = []
    for scope in scopes:
        with tf.variable_scope(scope):
            kernel, recurrent, bias = map(tf.convert_to_tensor, _weights(int(x.shape[2]), units, cell, initializer))
            if use_batch_norm:
                kernel, bias = folded_batch_norm(x, kernel, mask, bias, phase, 'batch_norm')
        directions.append((kernel, recurrent, bias))
    return cudnn.recurrence(cell, x, lengths, directions, phase.is_training)


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
    lengths: tf.Tensor | None = None,
    run: Callable = recurrence,
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
      lengths: int32 `[batch]`, the real frames, in the host's memory; only cuDNN needs them beside the mask.
      run: function that runs the cell over the projected inputs, with the arguments of `recurrence`.
      phase: training or inference.

    Returns:
      `[time, batch, units]` (`2 · units` for `concat`), zero on padding.
    """
    scopes = ('forward', 'backward') if bidirectional else ('forward',)
    with tf.variable_scope(scope):
        if phase.recurrence == 'cudnn':
            directions = _directions_by_cudnn(
                x, mask, lengths, units, cell, use_batch_norm, phase, initializer, scopes
            )
        else:
            run = portable.recurrence if phase.recurrence == 'portable' else run
            directions = [
                _direction(x, mask, units, cell, activation, use_batch_norm, phase, reverse, initializer, run, name)
                for reverse, name in zip((False, True), scopes, strict=False)
            ]
    if bidirectional:
        y = directions[0] + directions[1] if merge == 'sum' else tf.concat(directions, 2)
    else:
        y = directions[0]
    return y * mask
