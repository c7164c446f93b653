"""ARPA files, the interchange format of n-gram models, read and written: plain or gzipped, of any order."""

import gzip
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from utils.errors import DataError
from utils.files import replacing
from utils.jit import compiled, kernel

log = logging.getLogger(__name__)

UNKNOWN, START, END = '<unk>', '<s>', '</s>'
MAX_ORDER = 10
BLOCK_BYTES = 1 << 24
ROWS_AT_A_TIME = 100_000  # that are turned into Python objects
# what KenLM gives a word that the model cannot score at all: nearly, but not quite, impossible
LOG10_OF_UNLISTED = -100.0
NEEDS_MORE, SECTION_ENDS, BAD_NUMBER, UNKNOWN_WORD, BAD_FIELDS, TOO_MANY = range(6)
NO_PROBABILITY = -99.0  # how ARPA files write log10 of zero


class WordTable(NamedTuple):
    """An open-addressing hash table from the 64-bit hash of a word's bytes to its id (-1: a free slot)."""

    hashes: np.ndarray
    ids: np.ndarray


class Rows(NamedTuple):
    """The n-grams of one order: word ids uint32 `[rows, order]`, log10 numbers float32 `[rows]`."""

    ngrams: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


@kernel
def hash_word(text: np.ndarray, first: int, end: int) -> int:
    """FNV-1a over the bytes, then mixed, so that the low bits depend on all of them."""
    value = np.uint64(0xCBF29CE484222325)
    for position in range(first, end):
        value = (value ^ np.uint64(text[position])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(29))


@kernel
def fill_word_table(text: np.ndarray, ends: np.ndarray, table: WordTable, firsts: np.ndarray) -> None:
    """Enters the words that ``text`` holds end to end; ``firsts`` gets the id of each word's first occurrence."""
    mask = len(table.ids) - 1
    start = 0
    for word in range(len(ends)):
        value = hash_word(text, start, ends[word])
        start = ends[word]
        slot = np.int64(value & np.uint64(mask))
        while table.ids[slot] >= 0 and table.hashes[slot] != value:
            slot = (slot + 1) & mask
        if table.ids[slot] < 0:
            table.ids[slot] = word
            table.hashes[slot] = value
        firsts[word] = table.ids[slot]


@kernel
def _find_word(table: WordTable, text: np.ndarray, first: int, end: int) -> int:
    mask = len(table.ids) - 1
    value = hash_word(text, first, end)
    slot = np.int64(value & np.uint64(mask))
    while table.ids[slot] >= 0:
        if table.hashes[slot] == value:
            return table.ids[slot]
        slot = (slot + 1) & mask
    return -1


@kernel
def parse_number(text: np.ndarray, first: int, end: int) -> float:
    """A decimal number, perhaps with an exponent; -inf counts as the -99 of other files; NaN where it is no number."""
    position = first
    sign = 1.0
    if position < end and (text[position] == 45 or text[position] == 43):  # - +
        sign = -1.0 if text[position] == 45 else 1.0
        position += 1
    if end - position >= 3 and (text[position] | 32) == 105 and (text[position + 1] | 32) == 110 and sign < 0:  # -inf
        return NO_PROBABILITY
    value, scale, digits, after_point = 0.0, 0, 0, False
    while position < end and (48 <= text[position] <= 57 or (text[position] == 46 and not after_point)):
        if text[position] == 46:
            after_point = True
        else:
            value = value * 10.0 + (text[position] - 48)
            digits += 1
            scale -= after_point
        position += 1
    if position + 1 < end and digits and (text[position] | 32) == 101:  # e
        position += 1
        negative = text[position] == 45
        position += text[position] == 45 or text[position] == 43
        exponent = 0
        if position == end:
            return np.nan
        while position < end and 48 <= text[position] <= 57:
            exponent = min(exponent * 10 + (text[position] - 48), 400)
            position += 1
        scale += -exponent if negative else exponent
    if position != end or digits == 0:
        return np.nan
    return sign * value * 10.0**scale


@kernel
def _split(text: np.ndarray, position: int, end: int, bounds: np.ndarray) -> int:
    """Writes where the fields of a line begin and end (two rows of ``bounds``); returns their number."""
    num_fields = 0
    while position < end:
        while position < end and (text[position] == 32 or 9 <= text[position] <= 13):
            position += 1
        if position == end:
            break
        if num_fields == bounds.shape[1]:
            return num_fields + 1
        bounds[0, num_fields] = position
        while position < end and not (text[position] == 32 or 9 <= text[position] <= 13):
            position += 1
        bounds[1, num_fields] = position
        num_fields += 1
    return num_fields


@compiled
def scan_lines(text: np.ndarray, position: int, table: WordTable, rows: Rows, row: int) -> tuple[int, int, int, int]:
    """Reads whole lines of one order from ``text`` into ``rows`` from ``row`` on.

    Returns:
      The status (`NEEDS_MORE`: no whole line is left; `SECTION_ENDS`: at a line that begins with a backslash;
      or an error), where the first line that was not taken begins, the next row, and the number of lines taken.
    """
    order = rows.ngrams.shape[1]
    bounds = np.empty((2, order + 2), np.int64)
    num_lines = 0
    while True:
        end = position
        while end < len(text) and text[end] != 10:
            end += 1
        if end == len(text):
            return NEEDS_MORE, position, row, num_lines
        num_fields = _split(text, position, end, bounds)
        if num_fields and text[bounds[0, 0]] == 92 and num_fields <= 1:  # a backslash: \2-grams: or \end\
            return SECTION_ENDS, position, row, num_lines
        if num_fields:
            if num_fields < order + 1 or num_fields > order + 2:
                return BAD_FIELDS, position, row, num_lines
            if row == len(rows.log_probs):
                return TOO_MANY, position, row, num_lines
            log_prob = parse_number(text, bounds[0, 0], bounds[1, 0])
            backoff = parse_number(text, bounds[0, order + 1], bounds[1, order + 1]) if num_fields == order + 2 else 0.0
            if not log_prob <= 1e-3 or np.isnan(backoff):
                return BAD_NUMBER, position, row, num_lines
            for field in range(order):
                word = _find_word(table, text, bounds[0, field + 1], bounds[1, field + 1])
                if word < 0:
                    return UNKNOWN_WORD, position, row, num_lines
                rows.ngrams[row, field] = word
            rows.log_probs[row] = min(log_prob, 0.0)
            rows.backoffs[row] = backoff
            row += 1
        num_lines += 1
        position = end + 1


def explain(status: int, order: int, count: int) -> str:
    """What is wrong with a line at which reading stopped."""
    return {
        BAD_NUMBER: 'holds a number that is none, or a log10 probability above 0',
        UNKNOWN_WORD: 'has a word that is not among the 1-grams',
        BAD_FIELDS: f'is not "LOG10_PROBABILITY, {order} word(s), perhaps LOG10_BACKOFF"',
        TOO_MANY: f'is one {order}-gram more than the {count} that the header promises',
    }[status]




def index_words(path: Path, words: list[str], texts: list[bytes], rows: Rows) -> tuple[list[str], Rows, WordTable]:
    """A hash table of the words; a word that is listed again is left out."""
    size = 1 << max(4, (2 * len(words)).bit_length())
    table = WordTable(np.zeros(size, np.uint64), np.full(size, -1, np.int64))
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    firsts = np.empty(len(words), np.int64)
    fill_word_table(np.frombuffer(b''.join(texts) or b' ', np.uint8), ends, table, firsts)
    is_first = firsts == np.arange(len(words))
    if is_first.all():
        return words, rows, table
    for row in np.flatnonzero(~is_first):
        if words[row] != words[firsts[row]]:
            raise DataError(f'{path}: words {words[row]!r} and {words[firsts[row]]!r} have the same hash; rename one')
    log.warning('%s lists %d words twice (first: %r); the first entry of each counts', path,
                int((~is_first).sum()), words[int(np.argmin(is_first))])  # fmt: skip
    new_ids = np.cumsum(is_first) - 1
    used = table.ids >= 0
    table.ids[used] = new_ids[table.ids[used]]
    kept = Rows(new_ids[is_first, np.newaxis].astype(np.uint32), rows.log_probs[is_first], rows.backoffs[is_first])
    return [word for word, first in zip(words, is_first, strict=True) if first], kept, table


def with_unknown(path: Path, words: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Names the unknown word `<unk>`; a model without it gets one with the probability that KenLM would give."""
    if UNKNOWN not in words and UNKNOWN.upper() in words:
        words[words.index(UNKNOWN.upper())] = UNKNOWN
    if UNKNOWN in words:
        return words, rows
    log.warning('%s has no <unk>: a word that it lacks gets log10 probability %g', path, LOG10_OF_UNLISTED)
    return [*words, UNKNOWN], Rows(
        np.append(rows.ngrams, [[len(words)]], axis=0).astype(np.uint32),
        np.append(rows.log_probs, np.float32(LOG10_OF_UNLISTED)),
        np.append(rows.backoffs, np.float32(0)),
    )




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
            status = TOO_MANY if len(texts) == count else BAD_FIELDS
            raise lines.error(f'{_show(line)} {explain(status, 1, count)}; make the file again')
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
    value = parse_number(text, 0, len(text))
    if np.isnan(value):
        raise lines.error(f'{_show(field)} is not a number; make the file again')
    return value


def _read_section(lines: _Lines, order: int, count: int, table: WordTable) -> Rows:
    _open_section(lines, order)
    rows = _empty_rows(lines, order, count)
    row = 0
    while True:
        text = np.frombuffer(lines.block, np.uint8) if lines.block else np.empty(0, np.uint8)
        status, lines.position, row, num_lines = scan_lines(text, lines.position, table, rows, row)
        lines.line += num_lines
        if status == SECTION_ENDS:
            break
        if status != NEEDS_MORE:
            line = lines.take() or b''
            raise lines.error(f'{_show(line)} {explain(status, order, count)}; make the file again')
        if not lines.more():
            raise lines.error(f'the file ends after {row} of {count} {order}-grams; it is cut off: make it again')
    if row < count:
        raise lines.error(f'the header promises {count} {order}-grams, but there are {row}; make the file again')
    return rows


def _show(line: bytes) -> str:
    text = line.decode(errors='replace').strip()
    return repr(text if len(text) <= 60 else text[:57] + '...')




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
                file.writelines(_lines(words, rows, has_backoff=order < len(orders)))
            file.write('\n\\end\\\n')


def _lines(words: Sequence[str], rows: Rows, has_backoff: bool) -> Iterator[str]:
    for first in range(0, len(rows.log_probs), ROWS_AT_A_TIME):
        part = slice(first, first + ROWS_AT_A_TIME)
        columns = (rows.ngrams[part].tolist(), rows.log_probs[part].tolist(), rows.backoffs[part].tolist())
        for ngram, log_prob, backoff in zip(*columns, strict=True):
            text = ' '.join([words[word] for word in ngram])
            yield f'{log_prob:.7g}\t{text}\t{backoff:.7g}\n' if has_backoff else f'{log_prob:.7g}\t{text}\n'
