"""Npz files, each array checked before it is used: type, shape, size against the file, finite values."""

import contextlib
import io
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from utils.errors import DataError

Shape = tuple[int | None, ...]

_KINDS = {'f': 'floating-point numbers', 'i': 'integers', 'U': 'text'}


def read_arrays(
    path: str | os.PathLike,
    wanted: Mapping[str, tuple[type, Shape]],
    remedy: str,
    where: str = '',
    data: bytes | None = None,
) -> dict[str, np.ndarray]:
    """Reads arrays of an npz file.

    Args:
      path: the file.
      wanted: type and shape of each array, by name; None in a shape: any size but 0.
      remedy: advice at the end of the message.
      where: text before the path in the message.
      data: content of the file, where it is not one of its own; the path is then only for messages.

    Returns:
      The arrays by name, converted to their types (numbers to numbers of the same kind); floats are finite.

    Raises:
      DataError: the file is missing, damaged, or holds something else.
    """
    with _open(path, remedy, where, data) as archive:
        return {name: _read(archive, name, np.dtype(kind), shape) for name, (kind, shape) in wanted.items()}


def read_shape(path: str, name: str, wanted: tuple[type, Shape], remedy: str) -> tuple[int, ...]:
    """Shape of an array from its header alone; arguments and errors as in `read_arrays`."""
    with _open(path, remedy, '') as archive, _open_array(archive, name, np.dtype(wanted[0]), wanted[1]) as opened:
        return opened[1]


def array_names(path: str | os.PathLike, remedy: str) -> set[str]:
    """Names of the arrays of an npz file; a `DataError` if it is missing or damaged."""
    with _open(path, remedy, '') as archive:
        return {name.removesuffix('.npy') for name in archive.namelist()}


@contextlib.contextmanager
def _open(path: str | os.PathLike, remedy: str, where: str, data: bytes | None = None) -> Iterator[zipfile.ZipFile]:
    """Opens an npz file; any failure in the block becomes a `DataError` that names the file."""
    try:
        if data is None and not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would block
            raise ValueError('not a regular file')
        with zipfile.ZipFile(path if data is None else io.BytesIO(data)) as archive:
            yield archive
    except FileNotFoundError:
        raise DataError(f'{where}{path}: no such file; {remedy}') from None
    except Exception as error:  # zipfile, zlib and numpy raise errors of a dozen types for damaged files
        reason = getattr(error, 'strerror', None) or ' '.join(str(error).split()) or type(error).__name__
        raise DataError(f'{where}{path}: cannot be read ({reason}); {remedy}') from None


@contextlib.contextmanager
def _open_array(archive: zipfile.ZipFile, name: str, kind: np.dtype, wanted: Shape) -> Iterator[tuple]:
    """Yields stream, shape, order and stored type of an array, all of them checked; a ValueError says what is wrong."""
    if f'{name}.npy' not in archive.namelist():
        raise ValueError(f'no {name} in it')
    with archive.open(f'{name}.npy') as stream:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
        if dtype.kind != kind.kind:
            raise ValueError(f'{name} of type {dtype}, not {_KINDS[kind.kind]}')
        if len(shape) != len(wanted) or any(
            size < 1 if one is None else size != one for size, one in zip(shape, wanted, strict=True)
        ):
            sizes = ', '.join('any' if one is None else str(one) for one in wanted)
            raise ValueError(f'{name} of shape {list(shape)}, not [{sizes}]')
        if math.prod(shape) * dtype.itemsize != archive.getinfo(f'{name}.npy').file_size - stream.tell():
            raise ValueError(f'{name} of shape {list(shape)} is not as long as the file says')
        yield stream, shape, 'F' if is_fortran else 'C', dtype


def _read(archive: zipfile.ZipFile, name: str, kind: np.dtype, wanted: Shape) -> np.ndarray:
    with _open_array(archive, name, kind, wanted) as (stream, shape, order, dtype):
        # to the end, which verifies the checksum
        array: Any = np.ndarray(shape, dtype, bytearray(stream.read()), order=order)
    if kind.kind == 'U':
        return array
    with np.errstate(over='ignore'):
        array = array.astype(kind, copy=False)
    if kind.kind == 'f' and not np.isfinite(array).all():
        raise ValueError(f'{name} with values that are not finite')
    return array
