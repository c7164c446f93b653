"""Recurrent layers by cuDNN: one operation for all frames and directions of a layer, on a GPU. Time-major.

The loop of `models.fast.recurrence` launches some twenty GPU kernels a frame, layer and direction. `CudnnRNNV3` is one
operation, with a gradient of its own. It has these cells with sigmoid and tanh only; a clipped ReLU it has not.

The variables are those of the loop, packed into cuDNN's parameter vector at each step: a copy of a few megabytes, which
gradients pass through. Checkpoints therefore suit both forms. Its operations have kernels for GPUs only.
"""

import tensorflow.compat.v1 as tf

from models.cells import NUM_GATES

MODES = {('gru', 'tanh'): 'gru', ('lstm', 'tanh'): 'lstm', ('rnn', 'tanh'): 'rnn_tanh'}  # of (cell, activation)
GATES = {'gru': (0, 1, 2), 'lstm': (0, 1, 3, 2), 'rnn': (0,)}  # gates of the cell's step in cuDNN's order
operation = tf.raw_ops.CudnnRNNV3  # tests put a stand-in here


def is_supported(cell: str, activation: str) -> bool:
    """Whether cuDNN has a cell with this activation of its candidate."""
    return (cell, activation) in MODES


def pack(cell: str, directions: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]) -> tf.Tensor:
    """cuDNN's parameter vector: the matrices of all directions, transposed, one gate after another; then all biases.

    cuDNN has two biases a gate. The one within the product with the state is 0: a GRU's reset gate would scale it.

    Args:
      cell: gru, lstm or rnn.
      directions: (kernel `[inputs, gates · units]`, recurrent kernel `[units, gates · units]`, bias) of each direction.

    Returns:
      `[parameters]`.
    """
    def in_order(weights):
        gates = tf.split(weights, NUM_GATES[cell], -1)
        return tf.concat([gates[i] for i in GATES[cell]], -1)

    matrices, biases = [], []
    for kernel, recurrent, bias in directions:
        matrices += [tf.reshape(tf.transpose(in_order(matrix)), [-1]) for matrix in (kernel, recurrent)]
        biases += [in_order(bias), tf.zeros_like(bias)]
    return tf.concat(matrices + biases, 0)


def recurrence(
    cell: str,
    x: tf.Tensor,
    lengths: tf.Tensor,
    directions: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    is_training: bool,
) -> list[tf.Tensor]:
    """A recurrent layer with tanh; the second direction runs backward, from each row's own last frame.

    Args:
      cell: gru, lstm or rnn.
      x: `[time, batch, inputs]`.
      lengths: int32 `[batch]`, real frames, in the host's memory: the kernel reads them there.
      directions: weights of one or two directions, as for `pack`.
      is_training: whether the gradient will be needed.

    Returns:
      `[time, batch, units]` of each direction, zero on padding.
    """
    units, num_directions = int(directions[0][1].shape[0]), len(directions)
    with tf.device('/cpu:0'):
        lengths = tf.maximum(lengths, 1)  # cuDNN rejects a row without frames; the layer masks its output
    start = tf.zeros([num_directions, tf.shape(x)[1], units], x.dtype)
    y = operation(
        input=x,
        input_h=start,
        input_c=start if cell == 'lstm' else tf.zeros([], x.dtype),
        params=pack(cell, directions),
        sequence_lengths=lengths,
        rnn_mode=MODES[cell, 'tanh'],
        input_mode='linear_input',
        direction='bidirectional' if num_directions == 2 else 'unidirectional',
        is_training=is_training,
        time_major=True,
    ).output
    y.set_shape([None, x.shape[1], num_directions * units])
    return tf.split(y, num_directions, 2)
