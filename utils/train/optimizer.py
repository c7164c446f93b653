"""Optimisers by name, and the learning-rate schedules."""

import math

import tensorflow.compat.v1 as tf

from utils.config import TrainConfig


def make_optimizer(name: str, learning_rate: tf.Tensor, momentum: float, beta2: float) -> tf.train.Optimizer:
    """Makes an optimiser by its name in `-o`: adam, sgd, momentum, nm (Nesterov), rmsprop or adagrad."""
    makers = {
        'adam': lambda: tf.train.AdamOptimizer(learning_rate, beta2=beta2),
        'sgd': lambda: tf.train.GradientDescentOptimizer(learning_rate),
        'momentum': lambda: tf.train.MomentumOptimizer(learning_rate, momentum),
        'nm': lambda: tf.train.MomentumOptimizer(learning_rate, momentum, use_nesterov=True),
        'rmsprop': lambda: tf.train.RMSPropOptimizer(learning_rate),
        'adagrad': lambda: tf.train.AdagradOptimizer(learning_rate),
    }
    return makers[name]()


def decay(variable: tf.Variable, share: tf.Tensor | float) -> list[tf.Operation]:
    """Returns the operations of decoupled weight decay (Loshchilov and Hutter 2019): w ← (1 - share) · w.

    The step of every optimiser depends on the gradient alone, so that the decay may go before it. It is for kernels and
    embeddings, variables of two axes and more; biases and the scales of batch norm have one.

    Args:
      variable: variable to decay.
      share: learning rate times `--weight_decay`; 0: no operation.
    """
    is_decayed = isinstance(share, tf.Tensor) and variable.shape.ndims > 1
    return [variable.assign_sub(share * variable.read_value()).op] if is_decayed else []


def learning_rate_at(config: TrainConfig, step: int, epoch: int, epoch_share: float, plateau_scale: float) -> float:
    """Returns the learning rate of one step.

    Args:
      config: training options: learning_rate, lr_schedule, lr_decay, warmup_steps, epochs, initial_epoch.
      step: steps made so far in the whole run.
      epoch: number of the epoch.
      epoch_share: fraction of the epoch that is done, 0 to 1.
      plateau_scale: factor of the plateau schedule, the product of its divisions so far.
    """
    rate = config.learning_rate
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    if config.lr_schedule == 'epoch':
        num_epochs = epoch - config.initial_epoch
        return rate / config.lr_decay**num_epochs if num_epochs * math.log(config.lr_decay) < 700 else 0.0
    if config.lr_schedule == 'plateau':
        return rate * plateau_scale
    done = min((epoch - config.initial_epoch + epoch_share) / config.epochs, 1.0)
    return rate * 0.5 * (1 + math.cos(math.pi * done))
