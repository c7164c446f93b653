"""An n-gram language model: built from an ARPA file, kept as a memory-mapped binary, scoring word by word.

The n-grams form a trie. Node 0 is the empty context, node ``1 + word`` the unigram of a word, and the children of a
node stand together, sorted by word, so that a step is a binary search in the children of the state and, where the word
is not among them, the same one context shorter. A state is the node of the longest context that the model lists; it
takes no strings and no hashing. All probabilities are natural logarithms.
"""

import functools
import hashlib
import logging
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from utils.errors import DataError
from utils.files import replacing
from utils.jit import kernel
from utils.lm.arpa import END, NO_PROBABILITY, START, UNKNOWN, Rows, read_arpa
from utils.pack.archive import open_lm
from utils.system import user_cache_dir

log = logging.getLogger(__name__)

ROOT = 0
LN_10 = float(np.log(10.0))
HASHED_BYTES = 1 << 16
CACHE_FORMAT = 2

Arrays = TypeVar('Arrays', bound=tuple)


class NgramTables(NamedTuple):
    """A model of ``num_nodes`` n-grams (and the root), of which the first ``num_contexts`` have backoff weights."""

    words: np.ndarray  # uint32 [num_nodes], the last word of each n-gram
    log_probs: np.ndarray  # float32 [num_nodes]
    # uint32 [num_nodes], the longest proper suffix in the model: of a context, to back off to; of an n-gram of the
    # highest order, the state that follows it
    links: np.ndarray
    backoffs: np.ndarray  # float32 [num_contexts]
    children: np.ndarray  # uint32 [num_contexts + 1], the first child of each context; the next one's ends its children


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
def child_of(tables: NgramTables, context: int, word: int) -> np.int64:
    """The node of the n-gram that a word makes of a context; -1 if the model has none."""
    if context == ROOT:
        return np.int64(word) + 1
    return find_child(tables.words, tables.children[context], tables.children[context + 1], word)


@kernel
def advance(tables: NgramTables, state: int, word: int) -> tuple[float, np.int64]:
    """log p(w | h) if the model lists `h w`, else log backoff(h) p(w | h without its first word); the next state."""
    log_prob, node = 0.0, np.int64(state)
    child = child_of(tables, node, word)
    while child < 0:
        log_prob += tables.backoffs[node]
        node = np.int64(tables.links[node])
        child = child_of(tables, node, word)
    return log_prob + tables.log_probs[child], child if child < len(tables.backoffs) else np.int64(tables.links[child])


@kernel
def find_nodes(tables: NgramTables, ngrams: np.ndarray, nodes: np.ndarray) -> int:
    """Writes the node of every row of ``ngrams`` (`[rows, order]`); returns the first row without a node, or -1."""
    for row in range(len(ngrams)):
        nodes[row] = ROOT
        for word in ngrams[row]:
            nodes[row] = child_of(tables, nodes[row], word)
            if nodes[row] < 0:
                return row
    return -1


@kernel
def link_level(tables: NgramTables, parents: np.ndarray, words: np.ndarray, links: np.ndarray) -> None:
    """Links new n-grams to their longest suffixes in ``tables``, which hold the orders below.

    A suffix of `h w` is a suffix of `h` followed by `w`, so the links of the parents lead to it.
    """
    for row in range(len(parents)):
        context, child = np.int64(parents[row]), np.int64(-1)
        while child < 0:
            context = np.int64(tables.links[context])
            child = child_of(tables, context, words[row])
        links[row] = child


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model; see the module for its states."""

    path: str  # of its ARPA file, for messages
    order: int  # length of the longest n-grams
    word_text: str  # the words, one a line in the order of their ids
    tables: NgramTables

    @functools.cached_property
    def words(self) -> list[str]:
        return self.word_text.split('\n')

    @functools.cached_property
    def word_ids(self) -> dict[str, int]:
        return {word: word_id for word_id, word in enumerate(self.words)}

    @property
    def num_ngrams(self) -> int:
        return len(self.tables.words) - 1

    @functools.cached_property
    def unknown_id(self) -> int:
        """The id of `<unk>`, which every model has once it is read."""
        return self.word_ids[UNKNOWN]

    @functools.cached_property
    def end_id(self) -> int:
        """The id of `</s>`, -1 in a model without it."""
        return self.word_ids.get(END, -1)

    @property
    def start_state(self) -> int:
        """The state after `<s>`; the empty context in a model without it."""
        return self.word_ids[START] + 1 if START in self.word_ids and self.order > 1 else ROOT

    def log_probs(self, words: Sequence[str], with_end: bool = True) -> np.ndarray:
        """The natural log probability of each word of a sentence after `<s>`, and of `</s>` after them."""
        ids = [self.word_ids.get(word, self.unknown_id) for word in words] + [self.end_id] * with_end
        scores, state = [], self.start_state
        for word_id in filter(lambda word_id: word_id >= 0, ids):
            log_prob, state = advance(self.tables, state, word_id)
            scores.append(log_prob)
        return np.array(scores)


def load_model(path: str | Path, use_cache: bool = True) -> NgramModel:
    """Reads an ARPA file, or its binary cache if there is a sound one.

    The cache, memory-mapped, lies beside the file, or in the user's cache directory where that cannot be written. It
    holds for this file with its size, times and ends. Its checksum costs 36 ms for 133 MB (9.2 million n-grams).

    Raises:
      DataError: the file is no whole ARPA file.
    """
    path = Path(path)
    key, caches = _cache_key(path), cache_paths(path) if use_cache else []
    for cache in caches:
        if cached := _read_cache(cache, key, path):
            return cached
    log.info('reading %s', path)
    model = build_model(*read_arpa(path), str(path))
    log.info('%s: %d words, %d n-grams up to order %d', path, len(model.words), model.num_ngrams, model.order)
    if caches:
        _write_cache(model, key, caches)
    return model


def build_model(words: Sequence[str], orders: Sequence[Rows], path: str) -> NgramModel:
    """Makes the trie of an ARPA file's n-grams. ``path`` stands in messages.

    Raises:
      DataError: an n-gram is listed twice, or its prefix is not listed.
    """
    unigrams, *longer = (rows for rows in orders if len(rows.log_probs))
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
        tables, backoffs = _add_order(frozen(tables), backoffs, rows, words, path)
    for name in (START, END):
        if name not in words:
            log.warning('%s has no %s: sentence boundaries are not scored', path, name)
    return NgramModel(path, 1 + len(longer), '\n'.join(words), frozen(tables))


def _natural(log10s: np.ndarray) -> np.ndarray:
    """log10 to natural logs; what has no probability gets a very small one."""
    return (np.maximum(log10s, NO_PROBABILITY * 2) * LN_10).astype(np.float32)


def _add_order(
    tables: NgramTables, backoffs: np.ndarray, rows: Rows, words: Sequence[str], path: str
) -> tuple[NgramTables, np.ndarray]:
    """Adds the n-grams of the next order to ``tables``, as children of the highest order so far.

    That order has no backoff weights nor children yet: ``backoffs`` are its weights. Returns those of the new order.
    """
    num_nodes, first = len(tables.words), len(tables.backoffs)
    parents = np.empty(len(rows.log_probs), np.int64)
    if (row := find_nodes(tables, rows.ngrams[:, :-1], parents)) >= 0:
        *prefix, last = (words[word] for word in rows.ngrams[row])
        raise DataError(
            f'{path}: {" ".join([*prefix, last])!r} is listed, but not {" ".join(prefix)!r} that it begins with, as in '
            'files pruned by SRILM; prune with a tool that keeps what n-grams begin with: scripts/train_lm.py, or lmplz'
        )
    sort = np.argsort((parents << 32) | rows.ngrams[:, -1], kind='stable')
    parents, last_words = parents[sort], rows.ngrams[sort, -1]
    is_again = (parents[1:] == parents[:-1]) & (last_words[1:] == last_words[:-1])
    if is_again.any():
        ngram = ' '.join(words[word] for word in rows.ngrams[sort[np.argmax(is_again)]])
        raise DataError(f'{path}: {ngram!r} is listed twice; make the file again')
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


def frozen(arrays: Arrays) -> Arrays:
    """Makes arrays read-only like mapped ones, so that they are of one type for the compiler."""
    for array in arrays:
        array.flags.writeable = False
    return arrays


def fingerprint(path: str | os.PathLike) -> str:
    """Size of a file and hash of its ends, independent of its path; of a packed run, those of its language model."""
    with open_lm(path) as file:
        head, size = file.read(HASHED_BYTES), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - HASHED_BYTES))
        return f'{size}-{hashlib.sha1(head + file.read(HASHED_BYTES)).hexdigest()}'


def _cache_key(path: Path) -> int:
    """Hash that identifies a version of an ARPA file; its ctime, unlike its mtime, cannot be set by a program."""
    status = path.stat()
    text = f'{CACHE_FORMAT} {status.st_mtime_ns} {status.st_ctime_ns} {fingerprint(path)}'
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:7], 'little')


def cache_paths(path: Path) -> list[Path]:
    """Files that may cache an ARPA file: beside it, else in the user's cache directory, if there is one."""
    name, user_dir = path.name + '.cache', user_cache_dir()
    folder = hashlib.sha1(os.fsencode(path.absolute().parent)).hexdigest()[:16]
    return [path.with_name(name), *([user_dir / 'ngram-models' / folder / name] if user_dir else [])]


def _read_cache(cache: Path, key: int, path: Path) -> NgramModel | None:
    """The model of an ARPA file, memory-mapped; None where the cache is missing, of another file, or damaged."""
    try:
        data: Any = np.asarray(np.memmap(cache, np.uint8, 'r'))
        found, checksum, order, num_nodes, num_contexts = map(int, data[:40].view(np.int64))
        if found != key or zlib.crc32(data[16:]) != checksum:
            raise ValueError('it is damaged, or of another file')
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        log.warning('%s cannot be used (%s); making it again', cache, error)
        return None
    lengths = np.array([num_nodes, num_nodes, num_nodes, num_contexts, num_contexts + 1])
    *arrays, text = np.split(data[40:], 4 * np.cumsum(lengths))
    kinds = np.uint32, np.float32, np.uint32, np.float32, np.uint32
    tables = NgramTables(*(array.view(kind) for array, kind in zip(arrays, kinds, strict=True)))
    return NgramModel(str(path), order, text.tobytes().decode(), tables)


def _write_cache(model: NgramModel, key: int, caches: Sequence[Path]) -> None:
    """Writes a model into the first of the caches that can be written: int64 header, tables, words."""
    sizes = np.array([model.order, len(model.tables.words), len(model.tables.backoffs)])
    parts: list[Any] = [sizes, *model.tables, model.word_text.encode()]
    checksum = functools.reduce(lambda total, part: zlib.crc32(part, total), parts, 0)
    parts.insert(0, np.array([key, checksum]))
    for cache in caches:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache) as temporary_path, open(temporary_path, 'wb') as file:
                file.writelines(parts)
            return
        except OSError as error:
            reason = error
    log.warning('%s could not be cached (%s); it will be read again next time', model.path, reason)
