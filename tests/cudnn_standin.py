"""Stand-in for cuDNN's recurrent operation on a CPU, written from NVIDIA's equations and its parameter layout."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

GATES = {'gru': 3, 'lstm': 4, 'rnn_tanh': 1}


class Output(NamedTuple):
    """The first output of the operation; the layers use no other."""

    output: tf.Tensor


def matrices(params, mode, inputs, units, num_directions):
    """The parameters of each direction: W `[gates, units, inputs]`, R `[gates, units, units]`, b_W, b_R."""
    gates, place, found = GATES[mode], 0, [[] for _ in range(num_directions)]
    sizes = [[gates, units, inputs], [gates, units, units]], [[gates, units], [gates, units]]
    for shapes in sizes:  # the matrices of all directions stand before their biases
        for direction in found:
            for shape in shapes:
                count = 1
                for size in shape:
                    count *= size
                direction.append(tf.reshape(params[place : place + count], shape))
                place += count
    return found


def _step(mode, x, r, b_r, h, c):
    """One frame, x `[batch, gates, units]` with its bias; gates in cuDNN's order: r z n, or i f g o."""
    recurrent = tf.einsum('bk,guk->bgu', h, r) + b_r
    if mode == 'gru':
        reset, update = (tf.sigmoid(x[:, i] + recurrent[:, i]) for i in (0, 1))
        new = tf.tanh(x[:, 2] + reset * recurrent[:, 2])
        return (1 - update) * new + update * h, c
    gates = x + recurrent
    if mode == 'rnn_tanh':
        return tf.tanh(gates[:, 0]), c
    i, f, o = (tf.sigmoid(gates[:, k]) for k in (0, 1, 3))
    c = f * c + i * tf.tanh(gates[:, 2])
    return o * tf.tanh(c), c


def cudnn_rnn(input, input_h, params, sequence_lengths, rnn_mode, direction, time_major, input_mode, **_):
    """`tf.raw_ops.CudnnRNNV3` for one layer that starts from zeros."""
    assert time_major and input_mode == 'linear_input'
    units, inputs, num_directions = int(input_h.shape[2]), int(input.shape[2]), 1 + (direction == 'bidirectional')
    live = tf.transpose(tf.sequence_mask(sequence_lengths, tf.shape(input)[0]))[..., None]
    outputs = []
    parts = matrices(params, rnn_mode, inputs, units, num_directions)
    for is_reversed, (w, r, b_w, b_r) in enumerate(parts):
        x = tf.reverse_sequence(input, sequence_lengths, 0, 1) if is_reversed else input
        x = tf.einsum('tbi,gui->tbgu', x, w) + b_w

        def step(state, frame, r=r, b_r=b_r):
            return _step(rnn_mode, frame, r, b_r, *state)

        y, _ = tf.scan(step, x, (input_h[0], tf.zeros_like(input_h[0])))
        y = tf.where_v2(live, y, tf.zeros_like(y))
        outputs.append(tf.reverse_sequence(y, sequence_lengths, 0, 1) if is_reversed else y)
    return Output(tf.concat(outputs, 2))
