"""The lines of an index as columns: what takes longest when a large one is read."""

import itertools
import json
import math
import os
from array import array
from typing import NamedTuple

from utils.errors import DataError

BYTE_ORDER_MARK = b'\xef\xbb\xbf'
_CHUNK = 4096  # lines parsed at once


class _Fields(NamedTuple):
    """The same field of several lines."""

    keys: list[str]
    texts: list[str]
    durations: array
    frames: array
    specs: list[str | None]


class Columns:
    """Columns under construction; `array` holds a number in 4 bytes where a list takes 32.

    Attributes:
      keys: the npz files, as they can be opened from the working directory.
      texts, durations, frames: of each line; frames is 0 where a line does not say.
      files, lines: where each came from: position in `index_paths`, and number from 1.
      specs: each kind of features named, and the first row that names it.
    """

    def __init__(self):
        self.keys: list[str] = []
        self.texts: list[str] = []
        self.durations, self.frames = array('f'), array('i')
        self.files, self.lines = array('i'), array('i')
        self.index_paths: list[str] = []
        self.specs: dict[str | None, int] = {}

    def read(self, path: str) -> None:
        """Appends the lines of an index.

        Raises:
          DataError: for the first line that is broken or lacks a field.
        """
        self.index_paths.append(path)
        prefix = os.path.join(os.path.dirname(path), '')
        with open(path, 'rb') as stream:
            numbered = ((number, line.strip()) for number, line in enumerate(stream, 1))
            numbered = ((number, line.removeprefix(BYTE_ORDER_MARK)) for number, line in numbered if line)
            while chunk := list(itertools.islice(numbered, _CHUNK)):
                numbers, lines = zip(*chunk, strict=True)
                fields = _parse(lines)
                if fields is None:
                    number, line = next((number, line) for number, line in chunk if _parse([line]) is None)
                    raise DataError(f'{path} line {number}: {_complaint(line)}; repair it or preprocess again')
                self._append(fields, numbers, prefix)

    def _append(self, fields: _Fields, numbers, prefix: str) -> None:
        for spec in dict.fromkeys(fields.specs):
            self.specs.setdefault(spec, len(self.keys) + fields.specs.index(spec))
        self.keys += [key if os.path.isabs(key) else prefix + key for key in fields.keys]
        self.texts += fields.texts
        self.durations += fields.durations
        self.frames += fields.frames
        self.files += array('i', [len(self.index_paths) - 1]) * len(numbers)
        self.lines += array('i', numbers)


def _parse(lines) -> _Fields | None:
    """The fields of some lines, or None if there is anything wrong with one of them."""
    try:
        if not all(line.startswith(b'{') and line.endswith(b'}') for line in lines):
            return None
        entries = json.loads(b'[%s]' % b','.join(lines))  # one call for thousands of lines takes half the time
        durations = [entry['duration'] for entry in entries]
        fields = _Fields(
            [entry['key'] for entry in entries],
            [entry['texts'] for entry in entries],
            array('f', durations),
            array('i', [entry.get('frames', 0) for entry in entries]),
            [entry.get('features') for entry in entries],
        )
        is_valid = (
            len(entries) == len(lines)
            and all(fields.keys)
            and {*map(type, fields.keys), *map(type, fields.texts)} == {str}
            and {*map(type, fields.specs)} <= {str, type(None)}
            and all(0 < duration < math.inf for duration in durations)
            and min(entry.get('frames', 1) for entry in entries) >= 1
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return fields if is_valid else None


def _complaint(line: bytes) -> str:
    """What is wrong with a line, in words."""
    try:
        entry = json.loads(line.decode('utf-8-sig'))
    except UnicodeDecodeError:
        return 'not UTF-8 text'
    except ValueError as error:
        return f'not a JSON object ({error})'
    if not isinstance(entry, dict):
        return f'expected a JSON object a line, got {type(entry).__name__}'
    missing = [field for field in ('key', 'duration', 'texts') if field not in entry]
    if missing:
        return f'no {" and no ".join(repr(field) for field in missing)} in it'
    duration, frames = entry['duration'], entry.get('frames', 1)
    rules = {
        'key': ('a path', isinstance(entry['key'], str) and entry['key']),
        'duration': ('seconds above 0', isinstance(duration, int | float) and 0 < duration < math.inf),
        'texts': ('a string', isinstance(entry['texts'], str)),
        'frames': ('a count from 1', isinstance(frames, int) and 0 < frames < 2**31),
        'features': ('a string', isinstance(entry.get('features'), str | None)),
    }
    field, kind = next((field, kind) for field, (kind, is_right) in rules.items() if not is_right)
    return f'{field!r} is {json.dumps(entry[field], ensure_ascii=False)[:40]}, not {kind}'
