"""The npz file of one utterance: `features` (float32 `[frames, featlen]`) and `label` (int32 `[units]`).

A `source` (text `[1]`) is added where the features are not those of a whole recording as it is.
"""

import contextlib
import os

import numpy as np

from utils.data.arrays import array_names, read_arrays, read_shape
from utils.errors import DataError
from utils.files import replacing

REMEDY = 'run the preprocessing again'


def write_features(path: str, features: np.ndarray, label: np.ndarray, source: str = '') -> None:
    """Writes a feature file atomically; equal arrays give equal bytes.

    Args:
      path: the file.
      features: `[frames, featlen]`.
      label: `[units]`.
      source: description of the part of a recording and of its changes; empty: a whole recording as it is.
    """
    arrays = {'features': np.asarray(features, np.float32), 'label': np.asarray(label, np.int32)}
    if source:
        arrays['source'] = np.array([source])
    try:
        with replacing(path) as temporary_path, open(temporary_path, 'wb') as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        error.filename, error.filename2 = path, None  # numpy does not name the file of a failed write
        raise


def is_current(path: str, audio_path: str, shape: tuple[int, int], label: np.ndarray, source: str = '') -> bool:
    """Whether a feature file exists, is intact, is no older than its audio, and has this shape, label and source."""
    try:
        if not os.path.isfile(path) or os.stat(path).st_mtime_ns < os.stat(audio_path).st_mtime_ns:
            return False
        wanted: dict[str, tuple[type, tuple]] = {'features': (np.float32, shape), 'label': (np.int32, label.shape)}
        if 'source' in array_names(path, REMEDY):
            wanted['source'] = (np.str_, (1,))
        found = read_arrays(path, wanted, REMEDY)
        return np.array_equal(found['label'], label) and found.get('source', [''])[0] == source
    except (OSError, DataError):
        return False


def read_features(path: str, shape: tuple[int | None, int], where: str) -> np.ndarray:
    """The features of one utterance, float32 `[frames, features]`, finite.

    Args:
      path: the feature file.
      shape: numbers of frames (None: any) and of features in a frame that are expected.
      where: place of the utterance in its index, for messages; see `Index.where`.

    Raises:
      DataError: the file is missing, damaged, or of another shape.
    """
    features = read_arrays(path, {'features': (np.float32, (None, None))}, REMEDY, f'{where}: ')['features']
    if features.shape[1] != shape[1]:
        raise DataError(
            f'{where}: {path} has features of shape {list(features.shape)}, '
            f'not {shape[1]} a frame; give the -f that it was made with'
        )
    if shape[0] not in (None, len(features)):
        raise DataError(f'{where}: {path} has {len(features)} frames, the index says {shape[0]}; {REMEDY}')
    return features


def read_feature_shape(path: str) -> tuple[int, ...]:
    """``(frames, featlen)`` of a feature file, from its header alone; a `DataError` if it is damaged."""
    return read_shape(path, 'features', (np.float32, (None, None)), f'remove it and {REMEDY}')


def remove_stale(directory: str) -> None:
    """Removes temporary files of `utils.files.replacing` that killed processes have left."""
    for entry in os.scandir(directory):
        process = entry.name.removesuffix('.tmp').rpartition('.')[2]
        if entry.name.startswith('.') and entry.name.endswith('.tmp') and process.isdigit() and _is_dead(int(process)):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_dead(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
