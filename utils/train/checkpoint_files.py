"""The files of a checkpoint: their names, the removal of incomplete ones, damage; loading, of a packed run too."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from utils.errors import DataError
from utils.pack.archive import packed_checkpoint
from utils.pack.weights import check_fits, read_weights

NAME = re.compile(r'(?:model|average)-\d+')
PART = re.compile(rf'{NAME.pattern}\.(?:index|data-\d{{5}}-of-\d{{5}}|json)')
# what killed processes leave: of tf.train.Saver and of `replacing`
LEFT = re.compile(rf'{PART.pattern}\.tempstate\d+|\.{NAME.pattern}\.json\.[0-9a-f.]+\.tmp')


def find_files(directory: Path, pattern: re.Pattern, name: str | None = None) -> list[Path]:
    """The files of these names, those of one checkpoint or of all; never a link or a directory."""
    found = [path for path in sorted(directory.glob('*')) if path.is_file() and not path.is_symlink()]
    return [path for path in found if pattern.fullmatch(path.name) and name in (None, path.stem)]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Removes the incomplete files of a failed save and raises a `DataError`; earlier checkpoints stay."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        for part in find_files(path.parent, PART, path.name):
            part.unlink(missing_ok=True)
        reason = str(getattr(error, 'message', error)).splitlines()[0]
        raise DataError(
            f'{path}: cannot be written ({reason}); free some space and run the same command again: '
            f'it resumes from the newest checkpoint'
        ) from None


def check_readable(path: str, option: str = '--checkpoint') -> None:
    """Reads all tensors of a checkpoint; for a damaged one, raises a `DataError` that names the option for another."""
    if packed := packed_checkpoint(path):
        read_weights(packed)
        return
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:  # all of them occur
        reason = str(getattr(error, 'message', error)).splitlines()[0]
        raise DataError(f'{path}: damaged ({reason}); restore it, or name another with {option}') from None


def read_values(path: str, option: str = '--checkpoint') -> dict[str, np.ndarray]:
    """Values of a checkpoint by the name of the variable, the optimizer's too; errors as in `check_readable`."""
    if packed := packed_checkpoint(path):
        return read_weights(packed)
    check_readable(path, option)
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}


def restore(session: tf.Session, saver: tf.train.Saver, path: str) -> None:
    """Loads the variables of a checkpoint.

    Raises:
      DataError: it is damaged, or holds other variables than the session's graph.
    """
    if packed := packed_checkpoint(path):
        with session.graph.as_default():
            variables = {each.op.name: each for each in tf.global_variables()}
        weights = read_weights(packed)
        check_fits(weights, {name: tuple(each.shape) for name, each in variables.items()}, packed.path)
        values = {each.initializer.inputs[1]: weights[name] for name, each in variables.items()}
        session.run([each.initializer for each in variables.values()], values)
        return
    errors = tf.errors.NotFoundError, tf.errors.InvalidArgumentError, tf.errors.DataLossError, tf.errors.OutOfRangeError
    try:
        with session.graph.as_default():
            saver.restore(session, path)
    except (*errors, ValueError):
        check_readable(path)  # its message is short
        raise DataError(
            f'{path}: holds other variables than this model with these options; leave -o as it was, or start new '
            f'with -r no'
        ) from None
