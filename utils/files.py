"""Files that are whole or absent: written beside their place, then moved into it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the directory of ``path``; moves that file onto ``path`` at the end.

    A reader sees the old file or the new one, never a half. When the body raises, the temporary
    file goes and ``path`` stays as it was. The process id keeps two writers apart.
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
            error.filename, error.filename2 = os.fspath(path), None  # the user never heard of the temporary file
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 file atomically; its directory is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path:
        temporary_path.write_text(text, encoding='utf-8', newline='\n')
