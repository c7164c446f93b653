"""Weights in the safetensors format, in float32 or half of it, expanded to float32 when they are read."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from utils.errors import DataError
from utils.pack.archive import REMEDY, WEIGHTS_NAME, PackedRun

_TYPES = {'F32': np.dtype('<f4'), 'F16': np.dtype('<f2'), 'BF16': np.dtype(ml_dtypes.bfloat16)}
DTYPES = {'float32': _TYPES['F32'], 'float16': _TYPES['F16'], 'bfloat16': _TYPES['BF16']}


def encode(weights: Mapping[str, np.ndarray], dtype: str) -> bytes:
    """Weights as a safetensors file.

    Args:
      weights: float32 values by the name of the variable.
      dtype: float32, or the type of the matrices: float16 or bfloat16. Vectors and scalars stay in float32: they are a
        thousandth of the size, and variances may leave float16's range.

    Raises:
      DataError: a value beyond float16's range.
    """
    arrays = {}
    with np.errstate(over='ignore'):
        for name, value in weights.items():
            kind = DTYPES[dtype] if value.ndim > 1 else DTYPES['float32']
            arrays[name] = np.ascontiguousarray(value.astype(kind))
            if not np.isfinite(arrays[name].astype(np.float32)).all():
                remedy = 'give --dtype bfloat16' if np.isfinite(value).all() else 'pack another checkpoint'
                raise DataError(f'--dtype {dtype}: {name} has values that are not finite in it; {remedy}')
    return safetensors.numpy.save(arrays)


def read_weights(packed: PackedRun) -> dict[str, np.ndarray]:
    """The weights of a packed run, float32 by the name of the variable; they are finite.

    Raises:
      DataError: damaged, or other types.
    """
    try:
        found = safetensors.deserialize(packed.read(WEIGHTS_NAME))
        weights = {name: _expand(name, **each) for name, each in found}
    except (safetensors.SafetensorError, ValueError) as error:
        raise DataError(f'{packed.path}: {WEIGHTS_NAME} is damaged ({error}); {REMEDY}') from None
    return weights


def _expand(name: str, dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    if dtype not in _TYPES:
        raise ValueError(f'{ascii(name[:80])} of type {dtype}, not {", ".join(_TYPES)}')
    value = np.frombuffer(data, _TYPES[dtype]).reshape(shape).astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f'{ascii(name[:80])} with values that are not finite')
    return value


def check_fits(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises a `DataError` unless the weights are those of a model, by name and shape."""
    for name in sorted(shapes.keys() | weights.keys()):
        found, wanted = weights.get(name), shapes.get(name)
        if found is None or found.shape != wanted:
            shape = 'missing' if found is None else f'{list(found.shape)}'
            raise DataError(
                f'{where}: {WEIGHTS_NAME} does not fit the model of its config.json: {ascii(name[:80])} is {shape}, '
                f'the model has {"none" if wanted is None else list(wanted)}; {REMEDY}'
            )
