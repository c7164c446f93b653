"""ARPA files, the interchange format of n-gram models: reader and writer, plain or gzipped, up to order 10."""

import contextlib
import gzip
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from utils.errors import DataError
from utils.files import BYTE_ORDER_MARK, replacing
from utils.lm import MAX_ORDER
from utils.pack.archive import open_lm

log = logging.getLogger(__name__)

UNKNOWN, START, END = '<unk>', '<s>', '</s>'
NO_PROBABILITY = -99.0  # log10 of zero in ARPA files
LOG10_OF_UNLISTED = -100.0  # of a word that the model cannot score, in KenLM: nearly, but not quite, impossible
HEADER_LINES = 1000  # a file without \data\ in its first lines is no ARPA file
ROWS_AT_A_TIME = 20_000  # held as Python objects


class Rows(NamedTuple):
    """The n-grams of one order: word ids uint32 `[rows, order]`, log10 numbers float32 `[rows]`."""

    ngrams: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


@contextlib.contextmanager
def open_maybe_gzipped(path: str | Path) -> Iterator[IO[bytes]]:
    """Opens a file for reading, plain or gzipped; a DataError where the gzipped data is damaged."""
    with open_lm(path) as raw:
        is_gzip = raw.peek(2)[:2] == b'\x1f\x8b'
        try:
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw)) if is_gzip else raw  # type: ignore[arg-type]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f'{path}: the gzipped file is damaged or cut off; copy it again') from error


class _Lines:
    """The lines of a file, counted for messages."""

    def __init__(self, path: str | Path, file: Iterable[bytes]):
        self.path, self.number, self._lines = path, 0, iter(file)

    def take(self, count: int) -> list[bytes]:
        """The next ``count`` lines; fewer at the end of the file."""
        lines = list(itertools.islice(self._lines, count))
        self.number += len(lines)
        return lines

    def next_text(self) -> bytes:
        """The next line that is not blank, stripped; empty at the end of the file."""
        while (lines := self.take(1)) and not lines[0].strip():
            pass
        return lines[0].strip() if lines else b''

    def error(self, what: str) -> DataError:
        """An error at the line that was taken last."""
        return DataError(f'{self.path} line {max(1, self.number)}: {what}; make the file again')


def read_arpa(path: str | Path) -> tuple[list[str], list[Rows]]:
    """Reads an ARPA file, plain or gzipped.

    Returns:
      The words in the order of their ids; the n-grams of order 1 (row i is word i), 2, ...

    Raises:
      DataError: the file is no ARPA file, is cut off, or contradicts itself.
    """
    ids: dict[bytes, int] = {}
    orders = []
    with open_maybe_gzipped(path) as file:
        lines = _Lines(path, file)
        counts = _read_header(lines)
        for order, count in enumerate(counts, 1):
            orders.append(_read_section(lines, order, count, ids))
            heading = f'\\{order + 1}-grams:' if order < len(counts) else '\\end\\'
            if (text := lines.next_text()) != heading.encode():
                raise lines.error(f'by the counts of the header {heading} should stand here, found {_show(text)}')
    for row, (word, word_id) in enumerate(ids.items()):
        if word_id != row:
            raise DataError(f'{path}: the 1-grams list {_show(word)} twice; make the file again')
    try:
        words = [word.decode() for word in ids]
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: word {error.object!r} is not UTF-8; convert the file (iconv -t utf-8)') from error
    if UNKNOWN not in words and UNKNOWN.upper() in words:
        words[words.index(UNKNOWN.upper())] = UNKNOWN
    if UNKNOWN not in words:
        log.warning('%s has no <unk>: a word that it lacks gets log10 probability %g', path, LOG10_OF_UNLISTED)
        log_prob, backoff = np.array([[LOG10_OF_UNLISTED], [0]], np.float32)
        orders[0] = _joined([orders[0], Rows(np.array([[len(words)]], np.uint32), log_prob, backoff)])
        words.append(UNKNOWN)
    return words, orders


def _read_header(lines: _Lines) -> list[int]:
    """The counts of the lines `ngram N=COUNT`, up to the first heading; text before `\\data\\` is a comment."""
    if not any(lines.next_text().removeprefix(BYTE_ORDER_MARK) == b'\\data\\' for _ in range(HEADER_LINES)):
        raise DataError(f'{lines.path}: this is no ARPA file: no line \\data\\; give an n-gram model in ARPA format')
    counts: list[int] = []
    while (text := lines.next_text()) != b'\\1-grams:' or not counts:
        match = re.fullmatch(rb'ngram\s+(\d+)\s*=\s*(\d+)', text)
        if match is None or int(match[1]) != len(counts) + 1 or len(counts) == MAX_ORDER:
            expected = f'"ngram {len(counts) + 1}=COUNT" (up to {MAX_ORDER}) or \\1-grams:'
            raise lines.error(f'expected {expected}, found {_show(text)}')
        counts.append(int(match[2]))
    return counts


def _read_section(lines: _Lines, order: int, count: int, ids: dict[bytes, int]) -> Rows:
    """The ``count`` n-grams of an order. ``ids`` are the ids of the words, which the 1-grams fill."""
    parts = [Rows(np.empty((0, order), np.uint32), np.empty(0, np.float32), np.empty(0, np.float32))]
    for num_rows in range(0, count, ROWS_AT_A_TIME):
        block = lines.take(min(count - num_rows, ROWS_AT_A_TIME))
        try:
            parts.append(_parse(block, order, ids))
        except ValueError:
            lines.number -= len(block)
            for line in [*block, b'']:  # until one is refused by itself
                lines.number += 1
                try:
                    _parse([line], order, ids)
                except ValueError as error:
                    found = f'expected one of the {count} {order}-grams of the header, found {_show(line)}'
                    raise lines.error(f'{found}: {error}') from error
    return _joined(parts)


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(*map(np.concatenate, zip(*parts, strict=True)))


def _parse(block: Sequence[bytes], order: int, ids: dict[bytes, int]) -> Rows:
    """The n-grams of many lines at once, several times as fast as line by line; a ValueError for a fault in them."""
    num_rows, fields = len(block), b''.join(block).split()
    width, rest = divmod(len(fields), num_rows or 1)
    if rest or width not in (order + 1, order + 2):  # backoff weights on some lines only
        width = order + 2
        rows = [row if len(row) == width else [*row, b'0'] for row in map(bytes.split, block)]
        if not rows or any(len(row) != width for row in rows):
            raise ValueError(f'not LOG10_PROBABILITY, {order} word(s), perhaps LOG10_BACKOFF')
        fields = [field for row in rows for field in row]
    if order == 1:
        ids.update(zip(fields[1::width], range(len(ids), len(ids) + num_rows), strict=True))
    ngrams = np.empty((num_rows, order), np.uint32)
    try:
        for column in range(order):
            ngrams[:, column] = np.fromiter(map(ids.__getitem__, fields[column + 1 :: width]), np.uint32, num_rows)
    except KeyError as error:
        raise ValueError(f'the word {_show(error.args[0])} is not among the 1-grams') from error
    numbers = np.zeros((2, num_rows), np.float32)
    for row, column in enumerate((0, order + 1)[: width - order]):
        numbers[row] = np.fromiter(map(float, fields[column::width]), np.float32, num_rows)
    numbers[np.isneginf(numbers)] = NO_PROBABILITY
    if not (numbers[0] <= 1e-3).all() or not np.isfinite(numbers).all():
        raise ValueError('a log10 probability above 0, or a number that is not finite')
    return Rows(ngrams, np.minimum(numbers[0], 0), numbers[1])


def _show(text: bytes) -> str:
    shown = text.decode(errors='replace').strip()
    return repr(shown if len(shown) <= 60 else shown[:57] + '...') if text else 'the end of the file'


def write_arpa(path: str | Path, words: Sequence[str], orders: Sequence[Rows]) -> None:
    """Writes an ARPA file (gzipped where the name ends in .gz), whole or not at all; the directory is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if Path(path).suffix == '.gz' else open
    with replacing(path) as temporary_path, opener(temporary_path, 'wt', encoding='utf-8', newline='\n') as file:
        file.write('\\data\\\n')
        file.writelines(f'ngram {order}={len(rows.log_probs)}\n' for order, rows in enumerate(orders, 1))
        for order, rows in enumerate(orders, 1):
            is_last = order == len(orders)
            file.write(f'\n\\{order}-grams:\n')
            for first in range(0, len(rows.log_probs), ROWS_AT_A_TIME):
                columns = [column[first : first + ROWS_AT_A_TIME].tolist() for column in rows]
                for ngram, log_prob, backoff in zip(*columns, strict=True):
                    text = ' '.join([words[word] for word in ngram])
                    file.write(f'{log_prob:.7g}\t{text}\n' if is_last else f'{log_prob:.7g}\t{text}\t{backoff:.7g}\n')
        file.write('\n\\end\\\n')
