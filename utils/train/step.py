"""One training step as a graph, the same for every strategy."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf


class StepLoss(NamedTuple):
    """What a loss function returns.

    Attributes:
      losses: `[batch]`, one for each utterance.
      statistics: (variable, new value) to assign with the update, such as moving averages.
    """

    losses: tf.Tensor
    statistics: list = []


class Step(NamedTuple):
    """What a run of the step gives.

    Attributes:
      losses: `[utterances]`, of all replicas.
      rows: int32 `[utterances]`, their rows in the index.
      grad_norm: of the whole gradient, before clipping.
      is_finite: whether the update was made.
      update: runs it.
      warm_up: the same work up to the gradient, without the update.
    """

    losses: tf.Tensor
    rows: tf.Tensor
    grad_norm: tf.Tensor
    is_finite: tf.Tensor
    update: tf.Operation
    warm_up: tf.Tensor


def build_step(
    strategy: tf.distribute.Strategy,
    batches: list,
    loss_fn: Callable[[object, tf.Tensor, tf.Tensor], StepLoss],
    optimizer_fn: Callable[[tf.Tensor], tf.train.Optimizer],
    learning_rate: tf.Tensor,
    grad_clip: float,
    seed: int,
) -> Step:
    """Builds loss, gradient and update.

    The loss is the mean over the utterances of all replicas. A step whose loss or gradient is not finite changes no
    weight: its gradient and learning rate become 0.

    Args:
      strategy: of the run.
      batches: one for each replica; each has `rows` and whatever loss_fn wants.
      loss_fn: from (batch, steps done, int32 seed `[2]` that is new for each step and replica) to a `StepLoss`.
      optimizer_fn: from the learning rate to an optimiser.
      learning_rate: scalar.
      grad_clip: largest global norm, or -1.
      seed: of the run.
    """
    global_step = tf.train.get_or_create_global_step()

    @tf.autograph.experimental.do_not_convert
    def replica_step():
        replica = tf.distribute.get_replica_context()
        number = int(tf.get_static_value(replica.replica_id_in_sync_group))
        batch = batches[number]
        step = tf.cast(tf.convert_to_tensor(global_step), tf.int32)
        loss = loss_fn(batch, step, tf.stack([seed, step * len(batches) + number]))
        # gradients of replicas are summed, so each replica contributes its share of the mean over all utterances
        num_utterances = _over_replicas(replica, tf.cast(tf.size(loss.losses), tf.float32))
        variables = tf.trainable_variables()
        gradients = tf.gradients(tf.reduce_sum(loss.losses) / num_utterances, variables)
        _require_gradients(gradients, variables)
        gradients = [_over_replicas(replica, gradient) for gradient in gradients]
        norm = tf.global_norm(gradients)
        is_finite = tf.is_finite(norm) & tf.is_finite(_over_replicas(replica, tf.reduce_sum(loss.losses)))
        scale = tf.minimum(1.0, grad_clip / norm) if grad_clip > 0 else tf.constant(1.0)
        # apply_gradients sums over replicas once more
        scale /= len(batches)
        safe = [tf.where(is_finite, gradient * scale, tf.zeros_like(gradient)) for gradient in gradients]
        optimizer = optimizer_fn(tf.where(is_finite, learning_rate, 0.0))
        with tf.control_dependencies([step]):  # whoever wants to know the step has read it before it moves on
            applied = optimizer.apply_gradients(zip(safe, variables, strict=True), global_step)
        assigned = [variable.assign(tf.where(is_finite, value, variable)) for variable, value in loss.statistics]
        return loss.losses, batch.rows, norm, is_finite, tf.group(applied, *assigned)

    results = [strategy.experimental_local_results(r) for r in strategy.extended.call_for_each_replica(replica_step)]
    losses, rows, norms, finite, updates = results
    return Step(tf.concat(losses, 0), tf.concat(rows, 0), norms[0], finite[0], tf.group(*updates), norms[0])


def _over_replicas(replica, value):
    """Sum over the replicas, known to each; itself where there is one."""
    if replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def _require_gradients(gradients, variables) -> None:
    unused = [variable.name for variable, gradient in zip(variables, gradients, strict=True) if gradient is None]
    if unused:
        raise ValueError(f'the loss does not depend on {", ".join(unused)}')
