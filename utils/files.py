"""Atomic file writes: a temporary file in the same directory is renamed onto the target."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the directory of ``path``; renames that file onto ``path`` at the end.

    A reader gets the old file or the new one, never a part of one. When the body raises, the temporary file is deleted
    and ``path`` is unchanged. The process id in the temporary name keeps two writers apart.

    Raises:
      OSError: a failed file operation; it names ``path`` rather than the temporary file.
    """
    path = Path(path)
    temporary_path = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary_path
        os.replace(temporary_path, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary_path.unlink()
        if isinstance(error, OSError) and error.filename in (None, temporary_path, os.fspath(temporary_path)):
            error.filename, error.filename2 = os.fspath(path), None  # the temporary name means nothing to the user
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 file atomically; creates its directory where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path:
        temporary_path.write_text(text, encoding='utf-8', newline='\n')
