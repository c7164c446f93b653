"""Compiles kernels with Numba, and keeps the machine code until one of their sources changes.

Numba's own cache looks at the file of a function only, not at those of the functions that it calls, whose
machine code is built into it: after a change to one of them it would go on with the old one.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numba

_DIRECTORY = Path(__file__).parent


def sources() -> dict[str, bytes]:
    """What the machine code depends on, by file name: the modules that compile something, and this one."""
    found = {path.relative_to(_DIRECTORY).as_posix(): path.read_bytes() for path in sorted(_DIRECTORY.rglob('*.py'))}
    return {
        name: source
        for name, source in found.items()
        if name == Path(__file__).name or b'\n@compiled' in source or b'\n@kernel' in source
    }


_CACHE_NAME = f'numba-{hashlib.sha1(b"".join(sources().values())).hexdigest()[:12]}'


def compiled(function: Callable) -> Callable:
    """``numba.njit`` without the GIL, cached in a directory of this version of the kernels."""
    return _compile(function)


def kernel(function: Callable) -> Callable:
    """The same for a function that makes no arrays, nor calls one that does.

    It is compiled without reference counts. Numba would count, atomically, whenever an array is taken out of a tuple or
    given to a function: two thirds of the time of a beam search. The option is one that Numba does not document.
    """
    return _compile(function, _nrt=False)


def is_cached() -> bool:
    """Whether these kernels have been compiled on this machine; the first time takes 15 seconds."""
    return any(_cache_dir().rglob('*.nbi'))


def _cache_dir() -> Path:
    users = numba.config.CACHE_DIR
    return (Path(users) if users else _DIRECTORY / '__pycache__') / _CACHE_NAME


def _compile(function: Callable, **options: bool) -> Callable:
    users = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_cache_dir())
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = users
