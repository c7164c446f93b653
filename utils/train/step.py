"""One training step as a graph, the same for every strategy, and the operations that replicas do together.

Gradients are summed over replicas once, clipped, and applied to every copy of a variable.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from utils.train.ema import MovingAverages
from utils.train.loss_scale import LossScale, create_loss_scale
from utils.train.optimizer import decay


class StepLoss(NamedTuple):
    """The result of a loss function."""

    losses: tf.Tensor  # float32 `[batch]`, the loss of each utterance
    statistics: list = []  # pairs (variable, new value) to assign with the update, such as moving averages


class Seeds(NamedTuple):
    """The run's random seed, the number of this process's first replica, and of all replicas: no two draw alike."""

    run: int
    first: int = 0
    replicas: int = 1


class Step(NamedTuple):
    """The tensors of one step."""

    number: tf.Tensor  # int32 scalar, updates made before this one
    losses: tf.Tensor  # float32 `[utterances]`, losses of this process's replicas
    rows: tf.Tensor  # int32 `[utterances]`, their rows in the index
    grad_norm: tf.Tensor  # global norm of the gradient, before clipping
    is_finite: tf.Tensor  # bool scalar; False if loss or gradient is not finite, and the update changes nothing
    num_leaving: tf.Tensor  # sum of `leaving` over all replicas: above 0 if a process wants to stop
    update: tf.Operation
    warm_up: tf.Tensor  # computes loss and gradient without the update
    loss_scale: tf.Tensor | None  # factor on this step's loss; None without loss scaling


def build_step(
    strategy: tf.distribute.Strategy,
    batches: list,
    loss_fn: Callable[[object, tf.Tensor, tf.Tensor], StepLoss],
    optimizer_fn: Callable[[tf.Tensor], tf.train.Optimizer],
    learning_rate: tf.Tensor,
    leaving: tf.Tensor,
    grad_clip: float,
    seeds: Seeds,
    frozen: tuple[str, ...] = (),
    scales_loss: bool = False,
    weight_decay: float = 0.0,
    averages: MovingAverages | None = None,
) -> list[Step]:
    """Builds loss, gradient and update.

    The loss is the mean over the utterances of all replicas. A step whose loss or gradient is not finite changes no
    weight: its gradient and learning rate become 0.

    With frozen layers there is a second step of the same loss without their variables: it computes no gradient for
    them, and changes neither them nor their slots and moving averages.

    Args:
      strategy: distribution strategy of the run.
      batches: one batch for each replica of this process, with `rows` and the attributes that loss_fn needs.
      loss_fn: (batch, steps done, seed) -> `StepLoss`; the seed, int32 `[2]`, is new for each step and replica.
      optimizer_fn: learning rate -> optimiser.
      learning_rate: float32 scalar.
      leaving: float32 scalar, above 0 if this process wants to stop.
      grad_clip: largest global norm of the gradient; -1 for no clipping.
      seeds: random seeds of this process's replicas.
      frozen: variable scopes of the frozen layers.
      scales_loss: whether the loss is scaled for products in float16; see `utils.train.loss_scale`.
      weight_decay: share of the weights, times the learning rate, that an update takes away; see `decay`.
      averages: moving averages of the weights, to move after each update; None: none.

    Returns:
      The step that updates all variables and, with frozen layers, the one that leaves those out.

    Raises:
      ValueError: the loss does not depend on a trainable variable.
    """
    global_step = tf.train.get_or_create_global_step()
    make_optimizer = _sharing_slots(optimizer_fn)
    scaling = create_loss_scale() if scales_loss else ()
    @tf.autograph.experimental.do_not_convert
    def replica_step():
        number = replica_number() % len(batches)
        batch = batches[number]
        step = tf.cast(tf.convert_to_tensor(global_step), tf.int32)
        loss = loss_fn(batch, step, tf.stack([seeds.run, step * seeds.replicas + seeds.first + number]))
        scale = LossScale(*map(tf.convert_to_tensor, scaling)) if scaling else None
        settings = step, learning_rate, leaving, grad_clip, make_optimizer, scaling, scale, weight_decay, averages
        parts = [(), frozen] if frozen else [()]
        return [(step, loss.losses, batch.rows, *_update_without(part, loss, *settings)) for part in parts]

    return [_join(strategy, *results) for results in strategy.extended.call_for_each_replica(replica_step)]


def _join(strategy, *results):
    """One `Step` of the results of this process's replicas."""
    results = [strategy.experimental_local_results(result) for result in results]
    steps, losses, rows, norms, finite, num_leaving, updates, *scales = results
    losses, rows = tf.concat(losses, 0), tf.concat(rows, 0)
    last = tf.group(*updates), norms[0], scales[0][0] if scales else None
    return Step(steps[0], losses, rows, norms[0], finite[0], num_leaving[0], *last)


def _update_without(
    scopes, loss, step, learning_rate, leaving, grad_clip, make_optimizer, scaling, scale, weight_decay, averages
):
    """Norm, finiteness, leavers, update and any loss scale of a step that leaves scopes out; called in each replica."""
    below = tuple(f'{scope}/' for scope in scopes)
    variables = [variable for variable in tf.trainable_variables() if not variable.name.startswith(below)]
    statistics = [pair for pair in loss.statistics if not pair[0].name.startswith(below)]
    reduced = _reduce(StepLoss(loss.losses, statistics), variables, leaving, grad_clip, scale)
    rate = tf.where(reduced.is_finite, learning_rate, 0.0)
    with tf.control_dependencies([step]):  # the step is read before the update increments it
        gradients = [tf.identity(gradient) for gradient in reduced.gradients]

    def update_all(strategy, rate, gradients, values, share=None):
        rate = strategy.experimental_local_results(rate)[0]
        optimizer, number = make_optimizer(rate), tf.train.get_global_step()
        applied = _apply_sums(strategy, optimizer, gradients, variables, number, weight_decay and rate * weight_decay)
        moving = [variable for variable, _ in statistics]
        pairs = zip([*moving, *scaling], values, strict=True)
        updated = tf.group(applied, *(assign(strategy, variable, value) for variable, value in pairs))
        if averages is None:
            return updated
        with tf.control_dependencies([updated]):
            return tf.group(*averages.follow(strategy, [*variables, *moving], share))

    values = [*reduced.averages, *(reduced.new_scale or ())]
    shares = [averages.share(step, reduced.is_finite)] if averages else []
    updated = tf.distribute.get_replica_context().merge_call(update_all, (rate, gradients, values, *shares))
    return reduced.norm, reduced.is_finite, reduced.num_leaving, updated, *([scale.scale] if scale else [])


def _sharing_slots(optimizer_fn: Callable) -> Callable[[tf.Tensor], tf.train.Optimizer]:
    """The function with the slots of its first optimizer in every other one, each of which has its own rate."""
    made: list[tf.train.Optimizer] = []

    def make(rate):
        made.append(optimizer_fn(rate))
        made[-1]._slots, made[-1]._non_slot_dict = made[0]._slots, made[0]._non_slot_dict
        return made[-1]

    return make


class _Reduced(NamedTuple):
    """Gradients and statistics over all replicas; zeros, and the old averages, if they are not finite."""

    gradients: list[tf.Tensor]
    averages: list[tf.Tensor]
    norm: tf.Tensor
    is_finite: tf.Tensor
    num_leaving: tf.Tensor
    new_scale: LossScale | None


def _reduce(
    loss: StepLoss, variables: list, leaving: tf.Tensor, grad_clip: float, scale: LossScale | None
) -> _Reduced:
    """Returns the clipped gradient of the mean loss over the utterances of all replicas; called in each of them."""
    replica = tf.distribute.get_replica_context()
    sum_of_losses = tf.reduce_sum(loss.losses)
    gradients = tf.gradients(sum_of_losses * scale.scale if scale else sum_of_losses, variables)
    _require_gradients(gradients, variables)
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # a gather has IndexedSlices
    averages = [value / replica.num_replicas_in_sync for _, value in loss.statistics]
    counts = [tf.cast(tf.size(loss.losses), tf.float32), sum_of_losses, tf.identity(leaving)]
    counts, averages, gradients = over_replicas(replica, (counts, averages, gradients))
    num_utterances, sum_of_losses, num_leaving = counts
    if scale:
        gradients = [gradient / scale.scale for gradient in gradients]
    norm = tf.global_norm(gradients) / num_utterances
    is_finite = tf.is_finite(norm) & tf.is_finite(sum_of_losses)
    new_scale = scale and scale.after(tf.is_finite(norm), tf.is_finite(sum_of_losses))
    factor = (tf.minimum(1.0, grad_clip / norm) if grad_clip > 0 else 1.0) / num_utterances
    gradients = [tf.where(is_finite, gradient * factor, tf.zeros_like(gradient)) for gradient in gradients]
    olds = [variable for variable, _ in loss.statistics]
    averages = [tf.where(is_finite, new, old) for new, old in zip(averages, olds, strict=True)]
    return _Reduced(gradients, averages, norm, is_finite, num_leaving, new_scale)


def _apply_sums(strategy, optimizer, gradients, variables, global_step, decay_rate):
    """Applies summed gradients, as `optimizer.apply_gradients` does, which would reduce them once more."""
    with tf.init_scope():
        optimizer._create_slots(variables)
    optimizer._prepare()

    def apply(variable, gradient):
        with tf.control_dependencies(decay(variable, decay_rate)):
            return optimizer._resource_apply_dense(gradient, variable)

    updates = []
    for variable, gradient in zip(variables, gradients, strict=True):
        updates += update(strategy, variable, apply, gradient, group=False)
    devices = strategy.extended.non_slot_devices(variables)
    finish = strategy.extended.update_non_slot(
        devices, lambda updates: optimizer._finish(updates, 'finish'), (updates,), group=False
    )
    with tf.control_dependencies(finish):
        return strategy.extended.update(global_step, lambda variable: variable.assign_add(1).op)


def _require_gradients(gradients, variables) -> None:
    unused = [variable.name for variable, gradient in zip(variables, gradients, strict=True) if gradient is None]
    if unused:
        raise ValueError(f'the loss does not depend on {", ".join(unused)}')


def replica_number() -> int:
    """Returns the number of the calling replica among all replicas."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))


def over_replicas(replica, values):
    """Sums a structure of tensors over all replicas; returns it as it is if there is only one.

    `replica.all_reduce` cannot be used: it looks up the variables of all replicas in this one, which fails from the
    second replica on.
    """
    if replica.num_replicas_in_sync == 1:
        return values
    flat = tf.nest.flatten(values)

    def reduce(strategy, *values):
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, [(value, value) for value in values])

    sums = {}
    for dtype in dict.fromkeys(value.dtype for value in flat):  # tensors reduced together are concatenated
        alike = [i for i, value in enumerate(flat) if value.dtype == dtype]
        sums.update(zip(alike, replica.merge_call(reduce, [flat[i] for i in alike]), strict=True))
    return tf.nest.pack_sequence_as(values, [sums[i] for i in range(len(flat))])


def update(strategy: tf.distribute.Strategy, variable, function: Callable, value, group: bool = True):
    """Calls function(copy, value) for every copy of a variable, in cross-replica context.

    The value is the same in all replicas. Towers of one worker share the variables of its parameter servers: one copy,
    which takes the first tower's value. `group` makes one operation of the results.
    """
    if len(strategy.experimental_local_results(variable)) == 1:
        value = strategy.experimental_local_results(value)[0]
    return strategy.extended.update(variable, function, (value,), group=group)


def assign(strategy: tf.distribute.Strategy, variable, value) -> tf.Operation:
    """Assigns a value to every copy of a variable, in cross-replica context."""
    return update(strategy, variable, lambda variable, value: variable.assign(value).op, value)


def broadcast(strategy: tf.distribute.Strategy, variables: list) -> tf.Operation:
    """Returns an op that copies the values of variables from the first replica to all others."""

    @tf.autograph.experimental.do_not_convert
    def replica_fn():
        is_first = replica_number() == 0
        # a sum with zeros is exact
        values = [tf.identity(v) if is_first else tf.zeros_like(v) for v in variables]
        values = over_replicas(tf.distribute.get_replica_context(), values)

        def assign_all(strategy, values):
            return tf.group(*(assign(strategy, *pair) for pair in zip(variables, values, strict=True)))

        return tf.distribute.get_replica_context().merge_call(assign_all, (values,))

    return tf.group(*strategy.experimental_local_results(strategy.extended.call_for_each_replica(replica_fn)))
