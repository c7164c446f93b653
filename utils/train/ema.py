"""Exponential moving average of the weights (`--ema`; Polyak and Juditsky 1992), updated beside those that are trained.

After update n, counted from 0, the average a of a variable w becomes a + (1 - d) · (w - a), with
d = min(decay, (1 + n) / (10 + n)), so that it leaves the random initial weights behind. The moving averages of batch
norm are averaged alike: those of the trained weights belong to weights that nobody uses.

A checkpoint holds the averages under the variables' own names, so that the scores on dev, the best checkpoint, the mean
of the last epochs, other runs and all other commands take them; the trained weights, from which training resumes, are
`NAME/trained`. A run may be resumed with or without averages, or with another decay.

With parameter servers each worker moves the averages after its own update, so that they move once for each update; they
lie on the servers of their variables and cost no traffic. With all-reduce every process has a copy.
"""

from collections.abc import Collection, Iterable

import tensorflow.compat.v1 as tf

AVERAGE = 'ema'  # last part of the name of an average in the graph
TRAINED = 'trained'  # last part of the name of a variable that has an average, in a checkpoint


class MovingAverages:
    """Averages of the variables of a graph.

    Args:
      decay: share of itself that an average keeps at an update, above 0 and below 1.
    """

    def __init__(self, decay: float):
        self._decay = decay
        self._pairs: dict[str, tuple] = {}  # (variable, its average) by the name of the variable

    @property
    def averaged(self) -> Collection[str]:
        """Names of the variables that have an average."""
        return self._pairs.keys()

    def share(self, step: tf.Tensor, is_finite: tf.Tensor) -> tf.Tensor:
        """Share 1 - d of the new weights after update number `step`; 0 if it was not made."""
        number = tf.cast(step, tf.float32)
        return tf.where(is_finite, 1 - tf.minimum(self._decay, (1 + number) / (10 + number)), 0.0)

    def follow(self, strategy: tf.distribute.Strategy, variables: Iterable, share: tf.Tensor) -> list:
        """Moves the averages of variables towards their present values; called in cross-replica context.

        The values are read behind the control dependencies of the caller. `share` is the same in all replicas.
        """
        return [self._move(strategy, variable, share) for variable in variables]

    def begin(self, strategy: tf.distribute.Strategy) -> tf.Operation:
        """Returns the operation that sets each average to its variable."""

        def assign(variable, average):
            return strategy.extended.update(average, lambda copy: copy.assign(variable.read_value()).op)

        return tf.group(*(assign(*pair) for pair in self._pairs.values()))

    def _move(self, strategy, variable, share):
        average = self._average_of(strategy, variable)
        if len(strategy.experimental_local_results(average)) == 1:  # towers may share their variables
            share = strategy.experimental_local_results(share)[0]

        def move(copy, share):
            return copy.assign_add(share * (variable.read_value() - copy.read_value())).op

        return strategy.extended.update(average, move, (share,))

    def _average_of(self, strategy, variable):
        name = variable.op.name
        if name not in self._pairs:
            with tf.init_scope(), strategy.extended.colocate_vars_with(variable):
                zeros = tf.zeros_initializer()
                average = tf.get_variable(f'{name}/{AVERAGE}', variable.shape, initializer=zeros, trainable=False)
            self._pairs[name] = variable, average
        return self._pairs[name][1]


def names_in_checkpoint(variables: Iterable, averaged: Collection[str]) -> dict:
    """Variables of a graph by their names in a checkpoint that has averages of the variables named in `averaged`.

    Averages of others are left out.
    """
    found = {}
    for variable in variables:
        name = variable.op.name
        scope, _, last = name.rpartition('/')
        if last != AVERAGE:
            found[f'{name}/{TRAINED}' if name in averaged else name] = variable
        elif scope in averaged:
            found[scope] = variable
    return found


def make_saver(variables: dict) -> tf.train.Saver:
    """A saver of variables by their names in checkpoints; `tf.train.Saver` refuses towers' copies in a dictionary."""

    def saveable(name, variable):
        found = variable._gather_saveables_for_checkpoint().get('VARIABLE_VALUE', variable)
        return found(name=name) if callable(found) else found

    return tf.train.Saver({name: saveable(name, variable) for name, variable in variables.items()}, max_to_keep=0)


def averaged_in(names: Iterable[str]) -> set[str]:
    """Names of the variables of whose averages a checkpoint with these names consists."""
    return {name.removesuffix(f'/{TRAINED}') for name in names if name.endswith(f'/{TRAINED}')}
