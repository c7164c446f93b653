"""Deep Speech 2 as in TensorFlow 1 programs: conv2d, dynamic_rnn with GRUCell, ctc_loss, gradients by autodiff."""

import tensorflow.compat.v1 as tf
from plain_layers import bidirectional_rnn, ctc_losses, dense


def losses(features, lengths, labels, label_lengths, fields):
    """CTC loss of each utterance: features `[batch, time, features]`, fields as in `models.config.ModelConfig`."""
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
        x = tf.add_n(bidirectional_rnn(fields['rnn_cell'], x, lengths, fields['hidden_units'], f'layer{i}'))
    return ctc_losses(dense(x, 29, 'output'), lengths, labels, label_lengths)
