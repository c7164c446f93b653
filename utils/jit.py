"""Numba compilation with a cache that is invalidated when the source of any kernel changes.

Numba's own cache checks only the file of a function, not the files of the functions that it calls and whose machine
code is inlined: after a change to one of those it would reuse stale code.
"""

import atexit
import contextlib
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from utils.system import user_cache_dir

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
    return bool(_cache_dir()) and any(Path(_cache_dir()).rglob('*.nbi'))


@functools.cache
def _cache_dir() -> str:
    """The cache beside the sources; where that cannot be written, a copy among the user's caches or for this process.

    Numba itself refuses to read a cache that it cannot write. Empty: no directory can be written.
    """
    users, user_dir = _SETTINGS.CACHE_DIR, user_cache_dir()
    own = (Path(users) if users else _DIRECTORY / '__pycache__') / _CACHE_NAME
    for make in (lambda: own, lambda: user_dir and user_dir / 'numba' / _CACHE_NAME, _temporary_dir):
        with contextlib.suppress(OSError):
            if path := make():
                is_new = not path.exists()
                path.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=path).close()
                for file in own.rglob('*.nb?') if is_new else ():
                    (path / file.relative_to(own)).parent.mkdir(exist_ok=True)
                    shutil.copyfile(file, path / file.relative_to(own))
                return str(path)
    return ''


def _temporary_dir() -> Path:
    path = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path, _CACHE_NAME)


def _compile(function: Callable, **options: Any) -> Callable:
    users, cache_dir = _SETTINGS.CACHE_DIR, _cache_dir()
    _SETTINGS.CACHE_DIR = cache_dir
    try:
        return numba.njit(nogil=True, cache=bool(cache_dir), **options)(function)
    finally:
        _SETTINGS.CACHE_DIR = users
