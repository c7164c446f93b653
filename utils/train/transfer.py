"""Transfer of weights: variables of a new run that begin with those of another run's checkpoint (`--init_from`).

Variables are taken where name and shape fit. An axis over the classes follows the symbols: each class of the new run
that the other vocabulary has too takes its entries, and so does the last class (blank of CTC, end of a transcript).
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from utils.config import Flags
from utils.data.vocabulary import SPACE, Vocabulary
from utils.errors import DataError
from utils.run_directory import Run, is_resumed, open_initial_run
from utils.train.checkpoint import Checkpoints
from utils.train.checkpoint_files import read_values

log = logging.getLogger(__name__)

SHOWN = 20  # names in a line of the log
NEW = -1  # in `matching_classes`


def matching_classes(new: Vocabulary, old: Vocabulary) -> np.ndarray:
    """The old class of each new one, int `[new classes]`: that of the same token, the last one of the last, or NEW."""
    ids = {token: token_id for token_id, token in enumerate(old.tokens)}
    return np.array([*(ids.get(token, NEW) for token in new.tokens), len(old)])


def follow_symbols(fresh: np.ndarray, old: np.ndarray, axis: int, classes: np.ndarray) -> np.ndarray:
    """A variable with the old entries of the classes that both runs have, and fresh entries of the others.

    Args:
      fresh: initial value of the new variable; its axis has the classes once, or several times one after another.
      old: value of the old variable, of the same shape but for the number of classes.
      axis: axis of the classes.
      classes: result of `matching_classes`.
    """
    repeats = fresh.shape[axis] // len(classes)
    merged, source = (
        np.moveaxis(array, axis, -1).reshape(*np.delete(array.shape, axis), repeats, -1) for array in (fresh, old)
    )
    merged = np.where(classes == NEW, merged, source[..., classes])
    return np.moveaxis(merged.reshape(*np.delete(fresh.shape, axis), -1), -1, axis)


class Transfer(NamedTuple):
    """Weights that fit a new run.

    Attributes:
      weights: values of the other run by the name of the variable.
      class_axes: axis over the classes, by the names of the variables that have one.
      classes: old class of each new one; see `matching_classes`.
    """

    weights: dict[str, np.ndarray]
    class_axes: dict[str, int]
    classes: np.ndarray

    def load(self, session: tf.Session, strategy: tf.distribute.Strategy, variables: list) -> None:
        """Loads the weights into a session whose variables have their initial values; adds nothing to the graph."""
        for variable in variables:
            copies = strategy.experimental_local_results(variable)
            name = copies[0].op.name
            if name not in self.weights:
                continue
            value = self.weights[name]
            if name in self.class_axes:
                value = follow_symbols(session.run(copies[0]), value, self.class_axes[name], self.classes)
            session.run([copy.initializer for copy in copies], {copy.initializer.inputs[1]: value for copy in copies})


class InitialWeights(NamedTuple):
    """Weights of a trained run.

    Attributes:
      run: the run.
      checkpoint: name of the checkpoint.
      weights: values of the model's variables by name.
    """

    run: Run
    checkpoint: str
    weights: dict[str, np.ndarray]

    @classmethod
    def read(cls, run_dir: str, which: str) -> 'InitialWeights':
        """Reads the `best`, `latest` or `average` checkpoint of a run, or one by its name.

        Raises:
          DataError: no such run or checkpoint, or a damaged one.
        """
        run, checkpoints = open_initial_run(run_dir), Checkpoints(run_dir)
        name = checkpoints.resolve(which, '--init_checkpoint')
        values = read_values(path := checkpoints.prefix(name), '--init_checkpoint')
        # a slot of the optimizer is named below its variable; step counters have no scope
        weights = {n: each for n, each in values.items() if '/' in n and n.rpartition('/')[0] not in values}
        bad = [name for name, value in weights.items() if not np.isfinite(value).all()]
        if bad:
            raise DataError(f'{path}: {bad[0]} has values that are not finite; name another with --init_checkpoint')
        return cls(run, name, weights)

    def fit(self, shapes: dict[str, tuple[int, ...]], run: Run) -> Transfer:
        """Chooses the weights for a new run, and logs which variables and symbols are taken, new, and left.

        Args:
          shapes: shapes of the new model's variables by name.
          run: the new run.

        Raises:
          DataError: no variable fits.
        """
        axes = run.config.model.class_axes
        old_classes, new_classes = self.run.config.model.classes, run.config.model.classes

        def without_classes(name, shape, num_classes):
            return [size / num_classes if i == axes.get(name) else size for i, size in enumerate(shape)]

        taken = {
            name: self.weights[name]
            for name, shape in shapes.items()
            if name in self.weights
            and without_classes(name, shape, new_classes)
            == without_classes(name, self.weights[name].shape, old_classes)
        }
        where = f'{self.run.path}, {self.checkpoint}'
        if not taken:
            raise DataError(f'--init_from: no variable of {where} fits this model; name another run')
        classes = matching_classes(run.vocabulary, self.run.vocabulary)
        _report(f'variables of {where}', shapes.keys() & taken, shapes.keys(), self.weights.keys())
        if run.vocabulary != self.run.vocabulary:
            shared = {*run.vocabulary.tokens} & {*self.run.vocabulary.tokens}
            _report('symbols', shared, run.vocabulary.tokens, self.run.vocabulary.tokens)
        return Transfer(taken, axes, classes)


def initial_weights(flags: Flags) -> InitialWeights | None:
    """The weights of --init_from for a run without a checkpoint of its own."""
    path, run_dir = flags.train.init_from, flags.run.savepath
    if not path:
        return None
    if is_resumed(flags) and Checkpoints(run_dir).steps():
        if 'init_from' in flags.given:
            log.info('--init_from %s: %s began with its weights, and goes on from its own checkpoints', path, run_dir)
        return None
    return InitialWeights.read(path, flags.train.init_checkpoint)


def _report(what: str, taken: set[str], ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Logs how many names are taken, and which are new or left; variables of one scope under its name."""

    def describe(names):
        others = [SPACE if name == ' ' else name for name in names if name not in taken]
        shown = list(dict.fromkeys(name.rpartition('/')[0] or name for name in others))
        more = ' …' if len(shown) > SHOWN else ''
        return f'{len(others)} ({" ".join(shown[:SHOWN])}{more})' if others else 'none'

    log.info('%s: %d taken; new: %s; left: %s', what, len(taken), describe(ours), describe(theirs))
