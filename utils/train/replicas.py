"""What replicas of a step do together: sums over all of them, and the same assignment in each."""

import tensorflow.compat.v1 as tf


def replica_number() -> int:
    """Which of all replicas the calling one is."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))


def over_replicas(replica, values):
    """Sums over the replicas, known to each; the values themselves where there is one.

    Not `replica.all_reduce`: it looks for the variables of all replicas in this one, which fails from the second on.
    """
    if replica.num_replicas_in_sync == 1:
        return values
    flat = tf.nest.flatten(values)

    def reduce(strategy, *values):
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, [(value, value) for value in values])

    sums = {}
    for dtype in dict.fromkeys(value.dtype for value in flat):  # what is sent as one is concatenated
        alike = [i for i, value in enumerate(flat) if value.dtype == dtype]
        sums.update(zip(alike, replica.merge_call(reduce, [flat[i] for i in alike]), strict=True))
    return tf.nest.pack_sequence_as(values, [sums[i] for i in range(len(flat))])


def assign(strategy, variable, value) -> tf.Operation:
    """Assigns a value to every replica's copy of a variable; from outside the replicas."""
    return strategy.extended.update(variable, lambda variable, value: variable.assign(value).op, (value,))


def broadcast(strategy: tf.distribute.Strategy, variables: list) -> tf.Operation:
    """An op that gives the variables of all replicas the values that they have in the first."""

    @tf.autograph.experimental.do_not_convert
    def replica_fn():
        is_first = replica_number() == 0
        # a sum with zeros is exact
        values = [tf.identity(v) if is_first else tf.zeros_like(v) for v in variables]
        values = over_replicas(tf.distribute.get_replica_context(), values)

        def update(strategy, values):
            return tf.group(*(assign(strategy, *pair) for pair in zip(variables, values, strict=True)))

        return tf.distribute.get_replica_context().merge_call(update, (values,))

    return tf.group(*strategy.experimental_local_results(strategy.extended.call_for_each_replica(replica_fn)))
