"""Trial of cuDNN's recurrent layer: both forms of a layer on one random batch, with one set of weights."""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.fast import cudnn
from models.layers import Phase
from models.rnn import recurrent_layer

LENGTHS = (24, 1, 17, 9)  # frames of each row; the rest is padding


def has_cudnn(config: ModelConfig) -> bool:
    """Whether cuDNN has the model's recurrent cell."""
    return cudnn.is_supported(config.rnn_cell, config.activation)


def differences(config: ModelConfig) -> dict[str, tf.Tensor]:
    """Builds the recurrent layer of a model in both forms, in the default graph.

    Returns:
      |cuDNN - loop| / |loop| (Euclidean norms) of the output in training and at inference, of the gradients by the
      input and each variable, and of the moving averages' updates. What cuDNN leaves on padding is masked unless it is
      not a number.
    """
    rng, shape = np.random.default_rng(0), (max(LENGTHS), len(LENGTHS), config.hidden_units)
    x, outward = (tf.constant(rng.normal(size=shape), tf.float32) for _ in range(2))
    lengths = tf.constant(LENGTHS)
    mask = tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, shape[0], tf.float32)), 2)
    layer = functools.partial(
        recurrent_layer, x * mask, mask, config.hidden_units, 'trial', lengths=lengths, cell=config.rnn_cell,
        activation=config.activation, bidirectional=config.bidirectional, use_batch_norm=config.batch_norm,
    )

    def results(form):
        phase = Phase(is_training=True, step=tf.constant(1000), recurrence=form)
        with tf.variable_scope('', reuse=tf.AUTO_REUSE):
            y, inferred = layer(phase=phase), layer(phase=Phase(recurrence=form))
        variables = tf.trainable_variables('trial/')
        names = ['input', *(variable.op.name.partition('/')[2] for variable in variables)]
        gradients = zip(names, tf.gradients(y * outward, [x, *variables]), strict=True)
        found = {'output in training': y, 'output at inference': inferred}
        found |= {f'gradient by {name}': gradient for name, gradient in gradients}
        return found | {variable.op.name.partition('/')[2]: value for variable, value in phase.statistics}

    loop, ours = results('loop'), results('cudnn')
    return {name: tf.norm(ours[name] - loop[name]) / (tf.norm(loop[name]) + 1e-6) for name in loop}
