"""The npz file of one utterance: `features` (float32 `[frames, featlen]`) and `label` (int32 `[units]`)."""

import contextlib
import os
import zipfile

import numpy as np

from utils.errors import DataError
from utils.files import replacing

_FAILURES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def write_features(path: str, features: np.ndarray, label: np.ndarray) -> None:
    """Writes a feature file atomically; equal arrays give equal bytes."""
    try:
        with replacing(path) as temporary_path, open(temporary_path, 'wb') as stream:
            np.savez(stream, features=np.asarray(features, np.float32), label=np.asarray(label, np.int32))
    except OSError as error:
        error.filename, error.filename2 = path, None  # numpy does not name the file of a failed write
        raise


def is_current(path: str, audio_path: str, shape: tuple[int, int], label: np.ndarray) -> bool:
    """Whether a feature file exists, is intact, is no older than its audio, and has this shape and label."""
    try:
        if not os.path.isfile(path) or os.stat(path).st_mtime_ns < os.stat(audio_path).st_mtime_ns:
            return False
        with np.load(path) as arrays:
            features = arrays['features']  # reads the whole array, which verifies its checksum
            return (
                features.shape == shape
                and features.dtype == np.float32
                and np.isfinite(features).all()
                and arrays['label'].dtype == np.int32
                and np.array_equal(arrays['label'], label)
            )
    except Exception:  # numpy, zipfile and zlib raise many kinds for a damaged file; it is made again
        return False


def read_features(path: str, num_features: int, where: str) -> np.ndarray:
    """The features of one utterance, float32 `[frames, features]`.

    Args:
      path: the feature file.
      num_features: number of features expected in a frame.
      where: place of the utterance in its index, for messages; see `Index.where`.

    Raises:
      DataError: the file is missing, damaged, or has another number of features.
    """
    try:
        with np.load(path) as arrays:
            features = arrays['features']
    except Exception as error:  # zipfile, zlib and numpy raise different errors for damaged files
        reason = 'no such file' if isinstance(error, FileNotFoundError) else f'cannot be read ({error})'
        raise DataError(f'{where}: {path}: {reason}; run the preprocessing again') from None
    if features.ndim != 2 or features.shape[1] != num_features:
        raise DataError(
            f'{where}: {path} has features of shape {list(features.shape)}, '
            f'not {num_features} a frame; give the -f that it was made with'
        )
    return features.astype(np.float32, copy=False)


def read_shape(path: str) -> tuple[int, int]:
    """``(frames, featlen)`` of a feature file, from its header alone; a `DataError` if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open('features.npy') as stream:
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, _ = reader[np.lib.format.read_magic(stream)](stream)
    except _FAILURES as error:
        raise DataError(f'{path} is no feature file ({error}); remove it and run the preprocessing again') from error
    if len(shape) != 2 or not shape[0]:
        raise DataError(
            f'{path}: features of shape {list(shape)}, not [frames, featlen]; remove it and run the preprocessing again'
        )
    return shape


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
