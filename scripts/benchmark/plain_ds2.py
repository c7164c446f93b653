"""Deep Speech 2 as TensorFlow 1 programs had it: conv2d, dynamic_rnn with GRUCell, ctc_loss, gradients by autodiff.

Keras 3 took `tf.nn.rnn_cell` and with it `dynamic_rnn` away: their loop is written here, operation by operation.
"""

import tensorflow.compat.v1 as tf


def _gru_layer(x, lengths, units, scope):
    """dynamic_rnn(GRUCell): x `[time, batch, inputs]`; beyond a length the state stays and the output is 0."""
    frames, batch, inputs = tf.shape(x)[0], int(x.shape[1]), int(x.shape[2])
    with tf.variable_scope(scope):
        gate_kernel = tf.get_variable('gate_kernel', [inputs + units, 2 * units])
        gate_bias = tf.get_variable('gate_bias', [2 * units], initializer=tf.ones_initializer())
        kernel = tf.get_variable('kernel', [inputs + units, units])
        bias = tf.get_variable('bias', [units], initializer=tf.zeros_initializer())
    source = tf.TensorArray(tf.float32, frames, element_shape=[batch, inputs]).unstack(x)
    zero = tf.zeros([batch, units])

    def step(t, h, outputs):
        frame = source.read(t)
        gates = tf.sigmoid(tf.nn.bias_add(tf.matmul(tf.concat([frame, h], 1), gate_kernel), gate_bias))
        r, z = tf.split(gates, 2, 1)
        c = tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat([frame, r * h], 1), kernel), bias))
        new = z * h + (1 - z) * c
        is_live = t < lengths
        return t + 1, tf.where(is_live, new, h), outputs.write(t, tf.where(is_live, new, zero))

    outputs = tf.TensorArray(tf.float32, frames, element_shape=[batch, units])
    outputs = tf.while_loop(lambda t, *_: t < frames, step, [tf.constant(0), zero, outputs], parallel_iterations=32)[2]
    return outputs.stack()


def losses(features, lengths, labels, label_lengths, fields):
    """CTC loss of each utterance: features `[batch, time, features]`, fields as in `utils.config.ModelConfig`."""
    x = tf.expand_dims(features, 3)
    for i, (kernel, strides) in enumerate([((11, 41), (2, 2)), ((11, 21), (1, 2))][: fields['conv_layers']]):
        weights = tf.get_variable(f'conv{i}', [*kernel, int(x.shape[3]), 32])
        bias = tf.get_variable(f'conv{i}_bias', [32], initializer=tf.zeros_initializer())
        x = tf.nn.bias_add(tf.nn.conv2d(x, weights, [1, *strides, 1], 'SAME'), bias)
        x = tf.minimum(tf.nn.relu(x), 20)
    lengths = (lengths + 1) // 2
    x = tf.reshape(x, [int(x.shape[0]), -1, int(x.shape[2]) * int(x.shape[3])])
    x = tf.transpose(x, [1, 0, 2])
    for i in range(fields['rnn_layers']):
        forward = _gru_layer(x, lengths, fields['hidden_units'], f'forward{i}')
        backward = tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)
        backward = _gru_layer(backward, lengths, fields['hidden_units'], f'backward{i}')
        x = forward + tf.reverse_sequence(backward, lengths, seq_axis=0, batch_axis=1)
    weights = tf.get_variable('output', [int(x.shape[2]), 29])
    bias = tf.get_variable('output_bias', [29], initializer=tf.zeros_initializer())
    frames = tf.shape(x)[0]
    logits = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, int(x.shape[2])]), weights), bias)
    logits = tf.reshape(logits, [frames, -1, 29])
    where = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]))
    sparse = tf.SparseTensor(where, tf.gather_nd(labels, where), tf.shape(labels, out_type=tf.int64))
    return tf.nn.ctc_loss(sparse, logits, lengths, time_major=True)
