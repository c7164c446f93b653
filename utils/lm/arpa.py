"""ARPA files, the interchange format of n-gram models, read: plain or gzipped, of any order."""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.errors import DataError
from utils.lm import arpa_scan
from utils.lm.arpa_scan import Rows, WordTable
from utils.lm.arpa_words import index_words, with_unknown

MAX_ORDER = 10
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Arpa:
    """An ARPA file as it stands.

    Attributes:
      words: the words in the order of their ids.
      orders: the n-grams of order 1, 2, ...; row i of the first is the word with the id i.
    """

    words: list[str]
    orders: list[Rows]


class _Lines:
    """A file in blocks of bytes, and the number of the next line, for messages."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file
        self.block, self.position, self.line = b'', 0, 1

    def more(self) -> bool:
        """Appends the next block; False at the end of the file, whose last line is then ended if it was not."""
        try:
            data = self.file.read(BLOCK_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self.error('the gzipped file is damaged or cut off; copy it again') from error
        self.block = self.block[self.position :]
        self.position = 0
        if not data and self.block and not self.block.endswith(b'\n'):
            data = b'\n'
        self.block += data
        return bool(data)

    def take(self) -> bytes | None:
        """The next line without its end; None at the end of the file."""
        while (end := self.block.find(b'\n', self.position)) < 0:
            if not self.more():
                return None
        line = self.block[self.position : end]
        self.position = end + 1
        self.line += 1
        return line

    def untake(self, line: bytes) -> None:
        """Goes back to the beginning of the line that was taken last."""
        self.position -= len(line) + 1
        self.line -= 1

    def error(self, what: str) -> DataError:
        """Blames the line that was taken last."""
        return DataError(f'{self.path} line {max(1, self.line - 1)}: {what}')


def read_arpa(path: str | Path) -> Arpa:
    """Reads an ARPA file, plain or gzipped.

    Raises:
      DataError: where the file is no ARPA file, is cut off, or contradicts itself.
    """
    path = Path(path)
    with open(path, 'rb') as raw:
        is_gzip = raw.read(2) == b'\x1f\x8b'
        raw.seek(0)
        lines = _Lines(path, gzip.GzipFile(fileobj=raw) if is_gzip else raw)
        counts = _read_counts(lines)
        words, unigrams, table = _read_unigrams(lines, counts[0])
        orders = [unigrams]
        for order, count in enumerate(counts[1:], 2):
            orders.append(_read_section(lines, order, count, table))
        if (line := _next_heading(lines)) != b'\\end\\':
            what = 'the file ends' if line is None else f'found {_show(line)}'
            raise lines.error(f'\\end\\ should stand here, but {what}; the file may be cut off: make it again')
    return Arpa(words, orders)


def _read_counts(lines: _Lines) -> list[int]:
    """The `ngram N=COUNT` lines of the header; whatever stands before `\\data\\` is a comment."""
    while (line := lines.take()) is not None and line.strip() != b'\\data\\':
        if lines.line > 1000:
            break
    if line is None or line.strip() != b'\\data\\':
        raise DataError(
            f'{lines.path}: this is no ARPA file: it has no line \\data\\; give an n-gram model in ARPA format'
        )
    counts: list[int] = []
    while True:
        line = lines.take()
        if line is None:
            raise lines.error('the file ends within its header; it is cut off: make it again')
        if not line.strip():
            if counts:
                return counts
            continue
        match = re.fullmatch(rb'\s*ngram\s+(\d+)\s*=\s*(\d+)\s*', line)
        if match is None and line.startswith(b'\\') and counts:  # no blank line after the counts
            lines.untake(line)
            return counts
        if match is None or int(match[1]) != len(counts) + 1 or len(counts) == MAX_ORDER:
            raise lines.error(f'expected "ngram {len(counts) + 1}=COUNT" (up to {MAX_ORDER}), found {_show(line)}')
        counts.append(int(match[2]))


def _next_heading(lines: _Lines) -> bytes | None:
    """The next line that is not blank, without white space around it."""
    while (line := lines.take()) is not None:
        if line.strip():
            return line.strip()
    return None


def _open_section(lines: _Lines, order: int) -> None:
    heading = f'\\{order}-grams:'.encode()
    if (line := _next_heading(lines)) != heading:
        what = 'the file ends: it is cut off' if line is None else f'found {_show(line)}'
        raise lines.error(f'{heading.decode()} should stand here, but {what}; make the file again')


def _empty_rows(lines: _Lines, order: int, count: int) -> Rows:
    try:
        return Rows(np.empty((count, order), np.uint32), np.empty(count, np.float32), np.zeros(count, np.float32))
    except (MemoryError, ValueError) as error:
        raise lines.error(f'{count} {order}-grams do not fit into memory; use a pruned model') from error


def _read_unigrams(lines: _Lines, count: int) -> tuple[list[str], Rows, WordTable]:
    _open_section(lines, 1)
    rows = _empty_rows(lines, 1, count)
    texts: list[bytes] = []
    while True:
        line = lines.take()
        if line is None:
            raise lines.error(f'the file ends after {len(texts)} of {count} 1-grams; it is cut off: make it again')
        fields = line.split()
        if not fields:
            continue
        if len(fields) == 1 and line.startswith(b'\\'):
            lines.untake(line)
            break
        number = [_number(lines, field) for field in (fields[0], *fields[2:])]
        if len(fields) not in (2, 3) or len(texts) == count or number[0] > 1e-3:
            status = arpa_scan.TOO_MANY if len(texts) == count else arpa_scan.BAD_FIELDS
            raise lines.error(f'{_show(line)} {arpa_scan.explain(status, 1, count)}; make the file again')
        rows.log_probs[len(texts)], rows.backoffs[len(texts)] = (
            min(number[0], 0.0),
            number[1] if len(number) > 1 else 0.0,
        )
        texts.append(fields[1])
    if len(texts) < count:
        raise lines.error(f'the header promises {count} 1-grams, but there are {len(texts)}; make the file again')
    rows.ngrams[:, 0] = np.arange(count)
    try:
        words = [text.decode() for text in texts]
    except UnicodeDecodeError as error:
        raise DataError(
            f'{lines.path}: word {error.object!r} is not UTF-8; convert the file (iconv -t utf-8)'
        ) from error
    words, rows, table = index_words(lines.path, words, texts, rows)
    return *with_unknown(lines.path, words, rows), table


def _number(lines: _Lines, field: bytes) -> float:
    text = np.frombuffer(field, np.uint8)
    value = arpa_scan.parse_number(text, 0, len(text))
    if np.isnan(value):
        raise lines.error(f'{_show(field)} is not a number; make the file again')
    return value


def _read_section(lines: _Lines, order: int, count: int, table: WordTable) -> Rows:
    _open_section(lines, order)
    rows = _empty_rows(lines, order, count)
    row = 0
    while True:
        text = np.frombuffer(lines.block, np.uint8) if lines.block else np.empty(0, np.uint8)
        status, lines.position, row, num_lines = arpa_scan.scan_lines(text, lines.position, table, rows, row)
        lines.line += num_lines
        if status == arpa_scan.SECTION_ENDS:
            break
        if status != arpa_scan.NEEDS_MORE:
            line = lines.take() or b''
            raise lines.error(f'{_show(line)} {arpa_scan.explain(status, order, count)}; make the file again')
        if not lines.more():
            raise lines.error(f'the file ends after {row} of {count} {order}-grams; it is cut off: make it again')
    if row < count:
        raise lines.error(f'the header promises {count} {order}-grams, but there are {row}; make the file again')
    return rows


def _show(line: bytes) -> str:
    text = line.decode(errors='replace').strip()
    return repr(text if len(text) <= 60 else text[:57] + '...')
