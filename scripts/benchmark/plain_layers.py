"""Recurrent layers as in TensorFlow 1 programs: `dynamic_rnn` over cells that multiply frame by frame.

Keras 3 removed `tf.nn.rnn_cell` and with it `dynamic_rnn`; their loop is written out here, operation by operation.
"""

import tensorflow.compat.v1 as tf


def dense(x, units, scope):
    """tf.layers.dense over the last axis of x."""
    with tf.variable_scope(scope):
        kernel = tf.get_variable('kernel', [int(x.shape[-1]), units])
        bias = tf.get_variable('bias', [units], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(tf.tensordot(x, kernel, 1), bias)


class GruCell:
    """tf.nn.rnn_cell.GRUCell: its state is [h]."""

    num_states = 1

    def __init__(self, inputs, units, scope):
        """Makes the variables."""
        self.units = units
        with tf.variable_scope(scope):
            self._gate_kernel = tf.get_variable('gate_kernel', [inputs + units, 2 * units])
            self._gate_bias = tf.get_variable('gate_bias', [2 * units], initializer=tf.ones_initializer())
            self._kernel = tf.get_variable('kernel', [inputs + units, units])
            self._bias = tf.get_variable('bias', [units], initializer=tf.zeros_initializer())

    def __call__(self, x, state):
        """The new state."""
        (h,) = state
        gates = tf.sigmoid(tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), self._gate_kernel), self._gate_bias))
        r, z = tf.split(gates, 2, 1)
        c = tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat([x, r * h], 1), self._kernel), self._bias))
        return [z * h + (1 - z) * c]


class LstmCell:
    """tf.nn.rnn_cell.BasicLSTMCell: its state is [h, c]."""

    num_states = 2

    def __init__(self, inputs, units, scope):
        """Makes the variables."""
        self.units = units
        with tf.variable_scope(scope):
            self._kernel = tf.get_variable('kernel', [inputs + units, 4 * units])
            self._bias = tf.get_variable('bias', [4 * units], initializer=tf.zeros_initializer())

    def __call__(self, x, state):
        """The new state."""
        h, c = state
        gates = tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), self._kernel), self._bias)
        i, g, f, o = tf.split(gates, 4, 1)
        c = c * tf.sigmoid(f + 1) + tf.sigmoid(i) * tf.tanh(g)
        return [tf.tanh(c) * tf.sigmoid(o), c]


CELLS = {'gru': GruCell, 'lstm': LstmCell}


def dynamic_rnn(cell, x, lengths):
    """x `[time, batch, inputs]` to `[time, batch, units]`; beyond a length the state stays and the output is 0."""
    frames, batch, inputs = tf.shape(x)[0], int(x.shape[1]), int(x.shape[2])
    source = tf.TensorArray(tf.float32, frames, element_shape=[batch, inputs]).unstack(x)
    zero = tf.zeros([batch, cell.units])

    def step(t, state, outputs):
        new, is_live = cell(source.read(t), state), t < lengths
        state = [tf.where(is_live, after, before) for after, before in zip(new, state, strict=True)]
        return t + 1, state, outputs.write(t, tf.where(is_live, new[0], zero))

    outputs = tf.TensorArray(tf.float32, frames, element_shape=[batch, cell.units])
    start = [tf.constant(0), [zero] * cell.num_states, outputs]
    return tf.while_loop(lambda t, *_: t < frames, step, start, parallel_iterations=32)[2].stack()


def bidirectional_rnn(cell, x, lengths, units, scope):
    """Both directions of a layer, each `[time, batch, units]`; `cell` is a name in CELLS."""
    cells = [CELLS[cell](int(x.shape[2]), units, f'{scope}_{way}') for way in ('forward', 'backward')]
    forward = dynamic_rnn(cells[0], x, lengths)
    backward = dynamic_rnn(cells[1], tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1), lengths)
    return forward, tf.reverse_sequence(backward, lengths, seq_axis=0, batch_axis=1)


def ctc_losses(logits, lengths, labels, label_lengths):
    """tf.nn.ctc_loss of each utterance; logits `[time, batch, classes]`."""
    where = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]))
    sparse = tf.SparseTensor(where, tf.gather_nd(labels, where), tf.shape(labels, out_type=tf.int64))
    return tf.nn.ctc_loss(sparse, logits, lengths, time_major=True)
