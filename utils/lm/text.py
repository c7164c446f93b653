"""Where a language model's text comes from: lines of text files, transcripts of indexes; and what it must not hold."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from utils.errors import DataError

INDEX_SUFFIXES = ('.json', '.jsonl')
# shorter transcripts ("yes") stand in any text and say nothing
LEAST_WORDS_TO_TELL = 3


def is_index(path: str) -> bool:
    return path.removesuffix('.gz').endswith(INDEX_SUFFIXES)


def read_sentences(paths: Sequence[str]) -> Iterator[str]:
    """The lines of text files and the transcripts of indexes, gzipped or not.

    Raises:
      DataError: where a file is no UTF-8 text, or a line of an index has no transcript.
    """
    for path in paths:
        with open(path, 'rb') as raw:
            is_gzip = raw.read(2) == b'\x1f\x8b'
            raw.seek(0)
            lines = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            try:
                for number, line in enumerate(lines, 1):
                    text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
                    if not is_index(path):
                        yield text
                    elif text.strip():
                        yield _transcript(text, f'{path} line {number}')
            except UnicodeDecodeError as error:
                raise DataError(f'{path} line {number}: not UTF-8 text ({error.reason}); save it as UTF-8') from error
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f'{path}: the gzipped file is damaged or cut off; copy it again') from error


def _transcript(line: str, where: str) -> str:
    try:
        text = json.loads(line)['texts']
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise DataError(f'{where}: no JSON object with "texts"; give an index, or text with another suffix than .json')
    return text


def test_indexes(paths: Sequence[str]) -> list[str]:
    """The indexes that lie beside given ones and have "test" in their names."""
    found = {}
    for path in paths:
        if is_index(path):
            for other in sorted(Path(path).parent.glob('*test*')):
                if is_index(str(other)) and other.is_file():
                    found[other] = None
    return [str(path) for path in found]


test_indexes.__test__ = False  # a name that pytest would take for a test's


class Overlap:
    """Watches for the transcripts of test sets in a language model's text, which would flatter their scores."""

    def __init__(self, paths: Sequence[str], normaliser):
        self._transcripts: dict[tuple[str, ...], set[str]] = {}
        self._found: dict[str, set[tuple[str, ...]]] = {path: set() for path in paths}
        self._totals = dict.fromkeys(paths, 0)
        for path in paths:
            for text in read_sentences([path]):
                words = tuple(normaliser(text))
                if len(text.split()) >= LEAST_WORDS_TO_TELL or len(words) > 3 * LEAST_WORDS_TO_TELL:
                    self._transcripts.setdefault(words, set()).add(path)
        for owners in self._transcripts.values():
            for path in owners:
                self._totals[path] += 1

    def watch(self, sentences: Iterable[list[str]]) -> Iterator[list[str]]:
        """The same sentences, looked at."""
        for words in sentences:
            if self._transcripts:
                key = tuple(words)
                for path in self._transcripts.get(key, ()):
                    self._found[path].add(key)
            yield words

    def warnings(self) -> list[str]:
        """A line for each test set that the text holds something of."""
        return [
            f'{len(found)} of the {self._totals[path]} different transcripts of {path} (of {LEAST_WORDS_TO_TELL} words '
            'or more) are in the text: its scores with this model will look better than they are; leave them out'
            for path, found in self._found.items()
            if found
        ]
