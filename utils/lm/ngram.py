"""An n-gram language model: built from an ARPA file, kept as a memory-mapped binary, scoring word by word."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.lm.arpa import Arpa, read_arpa
from utils.lm.arpa_scan import NO_PROBABILITY, Rows
from utils.lm.arpa_words import END, START, UNKNOWN
from utils.lm.ngram_cache import read_cache, write_cache
from utils.lm.ngram_tables import ROOT, NgramTables, advance, find_nodes, link_level, score_words

log = logging.getLogger(__name__)

LN_10 = float(np.log(10.0))


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model; see `ngram_tables` for its arrays and its states.

    Attributes:
      path: the file it was read from, for messages.
      order: the length of its longest n-grams.
      word_text: its words, one a line in the order of their ids.
      tables: its n-grams.
    """

    path: str
    order: int
    word_text: str
    tables: NgramTables

    @cached_property
    def words(self) -> list[str]:
        """The words in the order of their ids."""
        return self.word_text.split('\n')

    @cached_property
    def word_ids(self) -> dict[str, int]:
        return {word: word_id for word_id, word in enumerate(self.words)}

    @property
    def num_ngrams(self) -> int:
        return len(self.tables.words) - 1

    @cached_property
    def unknown_id(self) -> int:
        """The id of `<unk>`, which every model has once it is read."""
        return self.word_ids[UNKNOWN]

    @cached_property
    def end_id(self) -> int:
        """The id of `</s>`, -1 in a model without it."""
        return self.word_ids.get(END, -1)

    @cached_property
    def start_state(self) -> int:
        """The state after `<s>`; the empty context in a model without it."""
        if START not in self.word_ids or self.order == 1:
            return ROOT
        return self.word_ids[START] + 1

    def advance(self, state: int, word: str) -> tuple[float, int]:
        """The natural log probability of ``word`` after ``state``, and the next state."""
        log_prob, following = advance(self.tables, state, self.word_ids.get(word, self.unknown_id))
        return float(log_prob), int(following)

    def log_probs(self, words: Sequence[str], with_end: bool = True) -> np.ndarray:
        """The natural log probability of each word of a sentence after `<s>`, and of `</s>` after them."""
        ids = [self.word_ids.get(word, self.unknown_id) for word in words]
        if with_end and self.end_id >= 0:
            ids.append(self.end_id)
        scores = np.empty(len(ids))
        score_words(self.tables, self.start_state, np.array(ids, np.int64), scores)
        return scores


def load_model(path: str | Path, use_cache: bool = True) -> NgramModel:
    """Reads an ARPA file, or its binary cache where that is newer.

    The cache lies beside the file (``NAME.cache``), or in the user's cache directory where that
    can't be written, and is used as long as the file keeps its size, time and ends.

    Raises:
      DataError: where the file is no whole ARPA file.
    """
    path = Path(path)
    cached = read_cache(path) if use_cache else None
    if cached is not None:
        return NgramModel(str(path), *cached)
    log.info('reading %s', path)
    model = build_model(read_arpa(path), str(path))
    log.info('%s: %d words, %d n-grams up to order %d', path, len(model.words), model.num_ngrams, model.order)
    if use_cache:
        write_cache(path, model.order, model.word_text, model.tables)
    return model


def build_model(arpa: Arpa, path: str) -> NgramModel:
    """Makes the trie of an ARPA file's n-grams. ``path`` stands in messages."""
    unigrams = arpa.orders[0]
    tables = _frozen(
        NgramTables(
            words=np.concatenate(([0], unigrams.ngrams[:, 0])).astype(np.uint32),
            log_probs=_natural(np.concatenate(([0.0], unigrams.log_probs))),
            links=np.zeros(len(unigrams.log_probs) + 1, np.uint32),
            backoffs=np.zeros(1, np.float32),
            children=np.array([1, len(unigrams.log_probs) + 1], np.uint32),
        )
    )
    backoffs = _natural(unigrams.backoffs)
    orders = [rows for rows in arpa.orders if len(rows.log_probs)]
    for rows in _with_prefixes(orders, path)[1:]:
        tables, backoffs = _add_order(tables, backoffs, rows, path)
    for name in (START, END):
        if name not in arpa.words:
            log.warning('%s has no %s: sentence boundaries are not scored', path, name)
    return NgramModel(path, len(orders), '\n'.join(arpa.words), tables)


def _natural(log10s: np.ndarray) -> np.ndarray:
    """log10 to natural logs; what has no probability gets a very small one."""
    return (np.maximum(log10s, NO_PROBABILITY * 2) * LN_10).astype(np.float32)


def _with_prefixes(orders: list[Rows], path: str) -> list[Rows]:
    """Adds the prefixes that longer n-grams lack (log probability NaN): every node of a trie needs its parent.

    Other tools leave none out, but a file that was pruned by hand is still a model.
    """
    complete = list(orders)
    for level in range(len(orders) - 1, 1, -1):
        prefixes, listed = complete[level].ngrams[:, :-1], complete[level - 1].ngrams
        both = np.concatenate([listed, prefixes])
        row_type = np.dtype((np.void, both.itemsize * both.shape[1]))
        _, firsts = np.unique(np.ascontiguousarray(both).view(row_type)[:, 0], return_index=True)
        missing = both[np.sort(firsts[firsts >= len(listed)])]
        if len(missing):
            log.warning('%s lacks %d %d-grams that longer ones begin with; they back off', path, len(missing), level)
            rows, zeros = complete[level - 1], np.zeros(len(missing), np.float32)
            complete[level - 1] = Rows(
                np.concatenate([listed, missing]),
                np.concatenate([rows.log_probs, zeros + np.float32(np.nan)]),
                np.concatenate([rows.backoffs, zeros]),
            )
    return complete


def _add_order(tables: NgramTables, backoffs: np.ndarray, rows: Rows, path: str) -> tuple[NgramTables, np.ndarray]:
    """Adds the n-grams of the next order as children of the highest order so far.

    Args:
      tables: the orders below; those of the highest have no backoff weights nor children yet.
      backoffs: their backoff weights.
      rows: the n-grams to add.
      path: for messages.

    Returns:
      The tables and the backoff weights of the new order.
    """
    num_nodes, first = len(tables.words), len(tables.backoffs)
    parents = np.empty(len(rows.log_probs), np.int64)
    find_nodes(tables, rows.ngrams[:, :-1], parents)
    sort = np.argsort((parents << 32) | rows.ngrams[:, -1], kind='stable')
    parents, words = parents[sort], rows.ngrams[sort, -1]
    is_first = np.ones(len(sort), bool)
    is_first[1:] = (parents[1:] != parents[:-1]) | (words[1:] != words[:-1])
    if not is_first.all():
        log.warning('%s lists %d %d-grams twice; the first entry of each counts', path,
                    int((~is_first).sum()), rows.ngrams.shape[1])  # fmt: skip
        sort, parents, words = sort[is_first], parents[is_first], words[is_first]
    log_probs, new_backoffs = _natural(rows.log_probs[sort]), _natural(rows.backoffs[sort])
    children = num_nodes + np.searchsorted(parents, np.arange(first, num_nodes + 1))
    # new contexts have no children, so that the links below end in the orders that are there
    below = _frozen(
        tables._replace(
            backoffs=np.concatenate([tables.backoffs, backoffs]),
            children=np.concatenate([tables.children[:-1], np.full(num_nodes - first + 1, num_nodes)]).astype(
                np.uint32
            ),
        )
    )
    links = np.empty(len(sort), np.uint32)
    link_level(below, parents, words, links, log_probs)
    tables = NgramTables(
        words=np.concatenate([tables.words, words]),
        log_probs=np.concatenate([tables.log_probs, log_probs]),
        links=np.concatenate([tables.links, links]),
        backoffs=below.backoffs,
        children=np.concatenate([tables.children[:first], children]).astype(np.uint32),
    )
    return _frozen(tables), new_backoffs


def _frozen(tables: NgramTables) -> NgramTables:
    """Read-only like mapped arrays, which makes them one type for the compiler."""
    for array in tables:
        array.flags.writeable = False
    return tables
