"""An n-gram language model: built from an ARPA file, kept as a memory-mapped binary, scoring word by word.

The n-grams form a trie. Node 0 is the empty context, node ``1 + word`` the unigram of a word, and the
children of a node stand together, sorted by word, so that a step is a binary search in the children of
the state and, where the word is not among them, the same one context shorter. A state is the node of
the longest context that the model knows; it takes no strings and no hashing.

All probabilities are natural logarithms.
"""

import glob
import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.errors import DataError
from utils.jit import kernel
from utils.lm.arpa import END, NO_PROBABILITY, START, UNKNOWN, Arpa, Rows, read_arpa
from utils.system import user_cache_dir

log = logging.getLogger(__name__)

ROOT = 0
LN_10 = float(np.log(10.0))
HASHED_BYTES = 1 << 16


class NgramTables(NamedTuple):
    """A model of ``num_nodes`` n-grams (and the root), of which the first ``num_contexts`` have backoff weights.

    Attributes:
      words: uint32 `[num_nodes]`, the last word of each n-gram.
      log_probs: float32 `[num_nodes]`.
      links: uint32 `[num_nodes]`: of a context, its longest proper suffix in the model, to back off to; of an
        n-gram of the highest order, the state that follows it.
      backoffs: float32 `[num_contexts]`.
      children: uint32 `[num_contexts + 1]`, the first child of each context; the next one's ends its children.
    """

    words: np.ndarray
    log_probs: np.ndarray
    links: np.ndarray
    backoffs: np.ndarray
    children: np.ndarray


CACHED = ('order', 'word_text', *NgramTables._fields)

@kernel
def find_child(words: np.ndarray, first: int, end: int, word: int) -> np.int64:
    """The node of ``word`` among the nodes ``first <= node < end``, which are sorted by word; -1 if it isn't there."""
    low, high = np.int64(first), np.int64(end)
    while low < high:
        middle = (low + high) >> 1
        if words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < end and words[low] == word else np.int64(-1)


@kernel
def advance(tables: NgramTables, state: int, word: int) -> tuple[float, np.int64]:
    """Scores a word after a state: p(w | h) if the model lists `h w`, else backoff(h) p(w | h without its first word).

    Returns:
      The natural log of the probability and the next state.
    """
    log_prob = 0.0
    node = np.int64(state)
    num_contexts = len(tables.backoffs)
    while node != ROOT:
        child = find_child(tables.words, tables.children[node], tables.children[node + 1], word)
        if child >= 0:
            following = child if child < num_contexts else np.int64(tables.links[child])
            return log_prob + tables.log_probs[child], following
        log_prob += tables.backoffs[node]
        node = np.int64(tables.links[node])
    child = np.int64(word) + 1
    return log_prob + tables.log_probs[child], child if child < num_contexts else np.int64(ROOT)


@kernel
def score_words(tables: NgramTables, state: int, words: np.ndarray, log_probs: np.ndarray) -> np.int64:
    """Writes the log probability of each word after those before it; returns the state after them all."""
    node = np.int64(state)
    for position in range(len(words)):
        log_prob, node = advance(tables, node, words[position])
        log_probs[position] = log_prob
    return node


@kernel
def find_nodes(tables: NgramTables, ngrams: np.ndarray, nodes: np.ndarray) -> int:
    """Writes the node of every row of ``ngrams`` (`[rows, order]`); returns the first row without a node, or -1."""
    for row in range(len(ngrams)):
        node = np.int64(ngrams[row, 0]) + 1
        for position in range(1, ngrams.shape[1]):
            node = find_child(tables.words, tables.children[node], tables.children[node + 1], ngrams[row, position])
            if node < 0:
                return row
        nodes[row] = node
    return -1


@kernel
def link_level(tables: NgramTables, parents: np.ndarray, words: np.ndarray, links: np.ndarray) -> None:
    """Links new n-grams to their longest suffixes in ``tables``, which hold the orders below.

    A suffix of `h w` is a suffix of `h` followed by `w`, so the links of the parents lead to it.
    """
    for row in range(len(parents)):
        word = words[row]
        context = np.int64(parents[row])
        child = np.int64(-1)
        while child < 0:
            context = np.int64(tables.links[context])
            if context == ROOT:
                child = np.int64(word) + 1
            else:
                child = find_child(tables.words, tables.children[context], tables.children[context + 1], word)
        links[row] = child


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model; see the module for its states.

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
    """Reads an ARPA file, or its binary cache if there is one.

    The cache, a directory of memory-mapped arrays, lies beside the file, or in the user's cache directory where
    that cannot be written. It is used as long as the file keeps its size, modification time and ends.

    Raises:
      DataError: the file is no whole ARPA file.
    """
    path = Path(path)
    directories = cache_dirs(path) if use_cache else []
    if cached := read_cache(path, directories):
        return cached
    log.info('reading %s', path)
    model = build_model(read_arpa(path), str(path))
    log.info('%s: %d words, %d n-grams up to order %d', path, len(model.words), model.num_ngrams, model.order)
    if use_cache:
        write_cache(model, directories)
    return model


def build_model(arpa: Arpa, path: str) -> NgramModel:
    """Makes the trie of an ARPA file's n-grams. ``path`` stands in messages.

    Raises:
      DataError: an n-gram is listed twice, or its prefix is not listed.
    """
    unigrams, *longer = (rows for rows in arpa.orders if len(rows.log_probs))
    num_words = len(unigrams.log_probs)
    tables = NgramTables(
        words=np.concatenate(([0], unigrams.ngrams[:, 0])).astype(np.uint32),
        log_probs=_natural(np.concatenate(([0.0], unigrams.log_probs))),
        links=np.zeros(num_words + 1, np.uint32),
        backoffs=np.zeros(1, np.float32),
        children=np.array([1, num_words + 1], np.uint32),
    )
    backoffs = _natural(unigrams.backoffs)
    for rows in longer:
        tables, backoffs = _add_order(_frozen(tables), backoffs, rows, arpa.words, path)
    for name in (START, END):
        if name not in arpa.words:
            log.warning('%s has no %s: sentence boundaries are not scored', path, name)
    return NgramModel(path, 1 + len(longer), '\n'.join(arpa.words), _frozen(tables))


def _natural(log10s: np.ndarray) -> np.ndarray:
    """log10 to natural logs; what has no probability gets a very small one."""
    return (np.maximum(log10s, NO_PROBABILITY * 2) * LN_10).astype(np.float32)


def _add_order(
    tables: NgramTables, backoffs: np.ndarray, rows: Rows, words: Sequence[str], path: str
) -> tuple[NgramTables, np.ndarray]:
    """Adds the n-grams of the next order as children of the highest order so far.

    Args:
      tables: the orders below; those of the highest have no backoff weights nor children yet.
      backoffs: their backoff weights.
      rows: the n-grams to add.
      words: the words in the order of their ids, for messages.
      path: path of the ARPA file, for messages.

    Returns:
      The tables and the backoff weights of the new order.
    """

    def fault(row, what):
        return DataError(f'{path}: {" ".join(words[word] for word in rows.ngrams[row])!r} {what}; make the file again')

    num_nodes, first = len(tables.words), len(tables.backoffs)
    parents = np.empty(len(rows.log_probs), np.int64)
    if (row := find_nodes(tables, rows.ngrams[:, :-1], parents)) >= 0:
        raise fault(row, 'is listed, but not the n-gram without its last word')
    sort = np.argsort((parents << 32) | rows.ngrams[:, -1], kind='stable')
    parents, last_words = parents[sort], rows.ngrams[sort, -1]
    is_again = (parents[1:] == parents[:-1]) & (last_words[1:] == last_words[:-1])
    if is_again.any():
        raise fault(sort[np.argmax(is_again)], 'is listed twice')
    links = np.empty(len(sort), np.uint32)
    link_level(tables, parents, last_words, links)
    children = num_nodes + np.searchsorted(parents, np.arange(first, num_nodes + 1))
    tables = NgramTables(
        words=np.concatenate([tables.words, last_words]),
        log_probs=np.concatenate([tables.log_probs, _natural(rows.log_probs[sort])]),
        links=np.concatenate([tables.links, links]),
        backoffs=np.concatenate([tables.backoffs, backoffs]),
        children=np.concatenate([tables.children[:first], children]).astype(np.uint32),
    )
    return tables, _natural(rows.backoffs[sort])


def _frozen(tables: NgramTables) -> NgramTables:
    """Read-only like mapped arrays, which makes them one type for the compiler."""
    for array in tables:
        array.flags.writeable = False
    return tables


def fingerprint(path: Path) -> tuple[int, int, str]:
    """Size, modification time in ns and a hash of the ends of a file, which show that it has changed."""
    status = path.stat()
    digest = hashlib.sha1()
    with open(path, 'rb') as file:
        digest.update(file.read(HASHED_BYTES))
        file.seek(max(0, status.st_size - HASHED_BYTES))
        digest.update(file.read(HASHED_BYTES))
    return status.st_size, status.st_mtime_ns, digest.hexdigest()


def cache_dirs(path: Path) -> list[Path]:
    """Directories that may cache an ARPA file: beside it, else in the user's cache; the name has its fingerprint."""
    key, folder = (hashlib.sha1(repr(each).encode()).hexdigest()[:16] for each in (fingerprint(path), path.absolute()))
    user_dir = user_cache_dir()
    parents = (path.parent, *([user_dir / 'ngram-models' / folder] if user_dir else ()))
    return [parent / f'{path.name}.{key}.cache' for parent in parents]


def read_cache(path: Path, directories: Sequence[Path]) -> NgramModel | None:
    """The model of an ARPA file, memory-mapped from the first directory that holds a valid cache; else None."""
    for directory in directories:
        try:
            mapped = (np.load(directory / f'{name}.npy', mmap_mode='r') for name in CACHED)
            order, word_text, *tables = map(np.asarray, mapped)
            return NgramModel(str(path), int(order[0]), word_text.tobytes().decode(), NgramTables(*tables))
        except (OSError, ValueError, EOFError) as error:
            if os.path.exists(directory):  # Path.exists raises an error where it may not look
                log.warning('%s cannot be used (%s); making it again', directory, error)
    return None


def write_cache(model: NgramModel, directories: Sequence[Path]) -> None:
    """Writes a model into the first of the directories that can be written, whole or not at all."""
    arrays = np.array([model.order]), np.frombuffer(model.word_text.encode(), np.uint8), *model.tables
    for directory in directories:
        temporary = directory.with_name(f'.{directory.name}.{os.getpid()}.tmp')
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            for name, array in zip(CACHED, arrays, strict=True):
                np.save(temporary / f'{name}.npy', array)
            for stale in directory.parent.glob(glob.escape(Path(model.path).name) + '.*.cache'):
                shutil.rmtree(stale, ignore_errors=True)
            temporary.rename(directory)
            return
        except OSError as error:
            reason = error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    log.warning('%s could not be cached (%s); it will be read again next time', model.path, reason)
