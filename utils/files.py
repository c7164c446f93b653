"""JSON files, checked against a type while they are read, and atomic file writes."""

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from utils.errors import DataError

BYTE_ORDER_MARK = b'\xef\xbb\xbf'

T = TypeVar('T')


def read_json(path: str | os.PathLike, kind: type[T], what: str, remedy: str) -> T:
    """Reads a JSON file; arguments and errors as in `decode_json`, and an OSError for a file that cannot be opened."""
    return decode_json(Path(path).read_bytes().removeprefix(BYTE_ORDER_MARK), kind, os.fspath(path), what, remedy)


def decode_json(data: bytes | str, kind: type[T], where: str, what: str, remedy: str, line: int = 0) -> T:
    """Decodes JSON and checks it against a type.

    Args:
      data: the JSON text, in UTF-8.
      kind: type of the result: a dataclass (fields that it lacks are refused, at any depth), a `msgspec.Struct`, or
        a built-in type such as ``dict[str, float]``.
      where: file or sender of the text, for the message.
      what: name of what was expected, for the message, with its article.
      remedy: advice at the end of the message.
      line: number of the line in the file; 0: the text is the whole file.

    Raises:
      DataError: the text is not JSON, or not of this type.
    """
    try:
        value = _decode(data, kind)
        # a Struct refuses unknown fields itself, where it has forbid_unknown_fields
        reason = '' if isinstance(value, msgspec.Struct) else _unknown_field(value, json.loads(data))
        if not reason:
            return value
    except UnicodeDecodeError:
        reason = 'not UTF-8 text'
    except RecursionError:
        reason = 'nested too deeply'
    except msgspec.DecodeError as error:
        text, _, place = str(error).replace('`', "'").partition(' - at ')
        reason = f'{place}: {text}' if place else text if data.strip() else 'empty'
    raise DataError(f'{where}{f" line {line}" if line else ""}: not {what} ({reason}); {remedy}')


def _decode(data: bytes | str, kind: type[T]) -> T:
    """Decodes with msgspec; dataclasses may hold Infinity and NaN, which Python's json writes (``-gc inf``)."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        if isinstance(error, msgspec.ValidationError) or not dataclasses.is_dataclass(kind):
            raise
        try:
            return msgspec.convert(json.loads(data if isinstance(data, str) else data.decode()), kind)
        except ValueError:
            raise error from None


def _unknown_field(value: Any, raw: Any, place: str = '$') -> str:
    """Complaint about the first key in ``raw`` that is no field of its dataclass; empty: there is none."""
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(value, list | tuple):
        pairs = [(f'{place}[{i}]', *pair) for i, pair in enumerate(zip(value, raw, strict=True))]
    elif dataclasses.is_dataclass(value):
        unknown = raw.keys() - {field.name for field in dataclasses.fields(value)}
        if unknown:
            return f"'{place}': no field is called {min(unknown)!r}"
        pairs = [(f'{place}.{name}', getattr(value, name), other) for name, other in raw.items()]
    complaints = (_unknown_field(one, other, inner) for inner, one, other in pairs)
    return next(filter(None, complaints), '')


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the directory of ``path``; renames that file onto ``path`` at the end.

    A reader gets the old file or the new one, never a part of one. When the body raises, the temporary file is deleted
    and ``path`` is unchanged. The temporary file is new, never a link that was there; its name has the process id.

    Raises:
      OSError: a failed file operation; it names ``path`` rather than the temporary file.
    """
    path = Path(path)
    temporary_path = path.with_name(f'.{path.name}.{secrets.token_hex(8)}.{os.getpid()}.tmp')
    try:
        os.close(os.open(temporary_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
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
