"""Numba compilation with a cache that is invalidated when the source of any kernel changes.

Numba's own cache checks only the file of a function, not the files of the functions that it calls and whose machine
code is inlined: after a change to one of those it would reuse stale code.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_DIRECTORY = Path(__file__).parent
_SETTINGS: Any = numba.config  # its attributes are made at run time


def sources() -> dict[str, bytes]:
    """Sources that the machine code depends on, by file name: the modules with compiled functions, and this one."""
    found = {path.relative_to(_DIRECTORY).as_posix(): path.read_bytes() for path in sorted(_DIRECTORY.rglob('*.py'))}
    return {
        name: source
        for name, source in found.items()
        if name == Path(__file__).name or b'\n@compiled' in source or b'\n@kernel' in source
    }


_CACHE_NAME = f'numba-{hashlib.sha1(b"".join(sources().values())).hexdigest()[:12]}'


def compiled(function: Callable) -> Callable:
    """``numba.njit`` that releases the GIL, cached in a directory for this version of the kernels."""
    return _compile(function)


def kernel(function: Callable) -> Callable:
    """`compiled` without reference counting, for a function that neither allocates arrays nor calls one that does.

    Numba would update a count atomically whenever an array is taken out of a tuple or passed to a function: two thirds
    of the time of a beam search. The option ``_nrt`` is undocumented.
    """
    return _compile(function, _nrt=False)


def is_cached() -> bool:
    """Whether any kernel is compiled and cached on this machine; the first compilation takes 15 seconds."""
    return any(_cache_dir().rglob('*.nbi'))


def _cache_dir() -> Path:
    users = _SETTINGS.CACHE_DIR
    return (Path(users) if users else _DIRECTORY / '__pycache__') / _CACHE_NAME


def _compile(function: Callable, **options: Any) -> Callable:
    users = _SETTINGS.CACHE_DIR
    _SETTINGS.CACHE_DIR = str(_cache_dir())
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    finally:
        _SETTINGS.CACHE_DIR = users
