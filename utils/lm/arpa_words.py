"""The words of an ARPA file: a hash table of them for reading on, and the one that stands for all others."""

import logging
from pathlib import Path

import numpy as np

from utils.errors import DataError
from utils.lm import arpa_scan
from utils.lm.arpa_scan import Rows, WordTable

log = logging.getLogger(__name__)

UNKNOWN, START, END = '<unk>', '<s>', '</s>'
# what KenLM gives a word that the model cannot score at all: nearly, but not quite, impossible
LOG10_OF_UNLISTED = -100.0


def index_words(path: Path, words: list[str], texts: list[bytes], rows: Rows) -> tuple[list[str], Rows, WordTable]:
    """A hash table of the words; a word that is listed again is left out."""
    size = 1 << max(4, (2 * len(words)).bit_length())
    table = WordTable(np.zeros(size, np.uint64), np.full(size, -1, np.int64))
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    firsts = np.empty(len(words), np.int64)
    arpa_scan.fill_word_table(np.frombuffer(b''.join(texts) or b' ', np.uint8), ends, table, firsts)
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
