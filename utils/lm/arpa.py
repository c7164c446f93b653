"""ARPA files, the interchange format of n-gram models: reader and writer, plain or gzipped, up to order 10."""

import gzip
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.errors import DataError
from utils.files import replacing

log = logging.getLogger(__name__)

UNKNOWN, START, END = '<unk>', '<s>', '</s>'
MAX_ORDER = 10
NO_PROBABILITY = -99.0  # log10 of zero in ARPA files
# KenLM's log10 probability of a word that the model cannot score at all: nearly, but not quite, impossible
LOG10_OF_UNLISTED = -100.0
HEADER_LINES = 1000  # a file without \data\ in its first lines is no ARPA file
ROWS_AT_A_TIME = 20_000  # held as Python objects


class Rows(NamedTuple):
    """The n-grams of one order: word ids uint32 `[rows, order]`, log10 numbers float32 `[rows]`."""

    ngrams: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


class Arpa(NamedTuple):
    """The content of an ARPA file: words in the order of their ids; n-grams of order 1 (row i is word i), 2, ..."""

    words: list[str]
    orders: list[Rows]


class _Lines:
    """The lines of a file, counted for messages."""

    def __init__(self, path: Path, file: Iterable[bytes]):
        self.path, self.number, self._lines = path, 0, iter(file)

    def take(self, count: int) -> list[bytes]:
        """The next ``count`` lines; fewer at the end of the file."""
        try:
            lines = list(itertools.islice(self._lines, count))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self.error('the gzipped file is damaged or cut off; copy it again') from error
        self.number += len(lines)
        return lines

    def next_text(self) -> bytes:
        """The next line that is not blank, stripped; empty at the end of the file."""
        while (lines := self.take(1)) and not lines[0].strip():
            pass
        return lines[0].strip() if lines else b''

    def expect(self, heading: str, found: bytes) -> None:
        """Checks that the text found is a heading."""
        if found != heading.encode():
            what = _show(found) if found else 'the end of the file'
            raise self.error(f'by the counts of the header {heading} should stand here, found {what}')

    def error(self, what: str) -> DataError:
        """An error at the line that was taken last."""
        return DataError(f'{self.path} line {max(1, self.number)}: {what}; make the file again')


def read_arpa(path: str | Path) -> Arpa:
    """Reads an ARPA file, plain or gzipped.

    Raises:
      DataError: the file is no ARPA file, is cut off, or contradicts itself.
    """
    path = Path(path)
    with open(path, 'rb') as raw:
        is_gzip = raw.read(2) == b'\x1f\x8b'
        raw.seek(0)
        lines = _Lines(path, io.BufferedReader(gzip.GzipFile(fileobj=raw)) if is_gzip else raw)  # type: ignore[arg-type]
        counts, heading = _read_header(lines)
        ids: dict[bytes, int] = {}
        orders = []
        for order, count in enumerate(counts, 1):
            lines.expect(f'\\{order}-grams:', heading)
            orders.append(_read_section(lines, order, count, ids))
            heading = lines.next_text()
        lines.expect('\\end\\', heading)
    for row, (word, word_id) in enumerate(ids.items()):
        if word_id != row:
            raise DataError(f'{path}: the 1-grams list {_show(word)} twice; make the file again')
    try:
        words = [word.decode() for word in ids]
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: word {error.object!r} is not UTF-8; convert the file (iconv -t utf-8)') from error
    words, orders[0] = _with_unknown(path, words, orders[0])
    return Arpa(words, orders)


def _read_header(lines: _Lines) -> tuple[list[int], bytes]:
    """The counts of the lines `ngram N=COUNT`, and the heading after them; text before `\\data\\` is a comment."""
    if not any(lines.next_text() == b'\\data\\' for _ in range(HEADER_LINES)):
        raise DataError(
            f'{lines.path}: this is no ARPA file: it has no line \\data\\; give an n-gram model in ARPA format'
        )
    counts: list[int] = []
    while not (text := lines.next_text()).startswith(b'\\') or not counts:
        match = re.fullmatch(rb'ngram\s+(\d+)\s*=\s*(\d+)', text)
        if match is None or int(match[1]) != len(counts) + 1 or len(counts) == MAX_ORDER:
            raise lines.error(f'expected "ngram {len(counts) + 1}=COUNT" (up to {MAX_ORDER}), found {_show(text)}')
        counts.append(int(match[2]))
    return counts, text


def _read_section(lines: _Lines, order: int, count: int, ids: dict[bytes, int]) -> Rows:
    """The ``count`` n-grams of an order. ``ids`` are the ids of the words, which the 1-grams fill."""
    parts = [Rows(np.empty((0, order), np.uint32), np.empty(0, np.float32), np.empty(0, np.float32))]
    for num_rows in range(0, count, ROWS_AT_A_TIME):
        block = lines.take(min(count - num_rows, ROWS_AT_A_TIME))
        try:
            parts.append(_parse(block, order, ids))
        except (ValueError, KeyError) as error:
            raise _fault(lines, block, order, ids, count - num_rows) from error
    return Rows(*map(np.concatenate, zip(*parts, strict=True)))


def _parse(block: Sequence[bytes], order: int, ids: dict[bytes, int]) -> Rows:
    """The n-grams of many lines at once, several times as fast as line by line.

    Raises:
      ValueError: a line is at fault, or there is none.
      KeyError: a word is not among the 1-grams.
    """
    num_rows, fields = len(block), b''.join(block).split()
    width, rest = divmod(len(fields), num_rows or 1)
    if rest or width not in (order + 1, order + 2):  # backoff weights on some lines only
        width = order + 2
        rows = [row if len(row) == width else [*row, b'0'] for row in map(bytes.split, block)]
        if not rows or any(len(row) != width for row in rows):
            raise ValueError(f'expected LOG10_PROBABILITY, {order} word(s), perhaps LOG10_BACKOFF')
        fields = [field for row in rows for field in row]
    if order == 1:
        ids.update(zip(fields[1::width], range(len(ids), len(ids) + num_rows), strict=True))
    ngrams = np.empty((num_rows, order), np.uint32)
    for column in range(order):
        ngrams[:, column] = np.fromiter(map(ids.__getitem__, fields[column + 1 :: width]), np.uint32, num_rows)
    numbers = np.zeros((2, num_rows), np.float32)
    for row, column in enumerate((0, order + 1)[: width - order]):
        numbers[row] = np.fromiter(map(float, fields[column::width]), np.float32, num_rows)
    numbers[np.isneginf(numbers)] = NO_PROBABILITY
    if not (numbers[0] <= 1e-3).all() or not np.isfinite(numbers).all():
        raise ValueError('holds a log10 probability above 0, or a number that is not finite')
    return Rows(ngrams, np.minimum(numbers[0], 0), numbers[1])


def _fault(lines: _Lines, block: Sequence[bytes], order: int, ids: dict[bytes, int], num_left: int) -> DataError:
    """The error of the first line that `_parse` refuses in the block taken last; ``num_left`` n-grams were due."""
    lines.number -= len(block)
    for position, line in enumerate(block):
        lines.number += 1
        if not line.strip() or line.startswith(b'\\'):
            return lines.error(f'the header promises {num_left - position} more {order}-grams than there are')
        try:
            _parse([line], order, ids)
        except KeyError as error:
            return lines.error(f'{_show(line)}: the word {_show(error.args[0])} is not among the 1-grams')
        except ValueError as error:
            return lines.error(f'{_show(line)}: {error}')
    return lines.error(f'the file ends {num_left} {order}-grams too early; it is cut off')


def _with_unknown(path: Path, words: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Names the unknown word `<unk>`; a model without it gets one with the probability that KenLM would give."""
    if UNKNOWN not in words and UNKNOWN.upper() in words:
        words[words.index(UNKNOWN.upper())] = UNKNOWN
    if UNKNOWN in words:
        return words, rows
    log.warning('%s has no <unk>: a word that it lacks gets log10 probability %g', path, LOG10_OF_UNLISTED)
    unknown = [[len(words)]], [LOG10_OF_UNLISTED], [0]
    added = [np.array(value, column.dtype) for value, column in zip(unknown, rows, strict=True)]
    return [*words, UNKNOWN], Rows(*(np.concatenate(pair) for pair in zip(rows, added, strict=True)))


def _show(text: bytes) -> str:
    shown = text.decode(errors='replace').strip()
    return repr(shown if len(shown) <= 60 else shown[:57] + '...')


def write_arpa(path: str | Path, words: Sequence[str], orders: Sequence[Rows]) -> None:
    """Writes an ARPA file (gzipped where the name ends in .gz), whole or not at all; the directory is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path:
        opener = gzip.open if path.suffix == '.gz' else open
        with opener(temporary_path, 'wt', encoding='utf-8', newline='\n') as file:
            file.write('\\data\\\n')
            file.writelines(f'ngram {order}={len(rows.log_probs)}\n' for order, rows in enumerate(orders, 1))
            for order, rows in enumerate(orders, 1):
                file.write(f'\n\\{order}-grams:\n')
                file.writelines(_write_rows(words, rows, has_backoff=order < len(orders)))
            file.write('\n\\end\\\n')


def _write_rows(words: Sequence[str], rows: Rows, has_backoff: bool) -> Iterator[str]:
    for first in range(0, len(rows.log_probs), ROWS_AT_A_TIME):
        columns = [column[first : first + ROWS_AT_A_TIME].tolist() for column in rows]
        for ngram, log_prob, backoff in zip(*columns, strict=True):
            text = ' '.join([words[word] for word in ngram])
            yield f'{log_prob:.7g}\t{text}\t{backoff:.7g}\n' if has_backoff else f'{log_prob:.7g}\t{text}\n'
