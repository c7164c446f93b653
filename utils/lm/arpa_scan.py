"""Reads the n-gram lines of an ARPA file at compiled speed: bytes in, word ids and numbers out."""

from typing import NamedTuple

import numpy as np

from utils.jit import compiled, kernel

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
