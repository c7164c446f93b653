"""The spellings of a language model's words as a trie of the acoustic model's tokens."""

import logging
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from utils.errors import DataError
from utils.lm.arpa import END, START, UNKNOWN
from utils.lm.ngram import NgramModel, frozen

log = logging.getLogger(__name__)

SPECIAL = frozenset((UNKNOWN, START, END))


class Lexicon(NamedTuple):
    """A trie; node 0 is the empty prefix, and the children of a node stand together, sorted by token."""

    children: np.ndarray  # int32 [num_nodes + 1], the first child of each node; its last stands before the next's first
    tokens: np.ndarray  # int32 [num_nodes], the last token of each prefix
    words: np.ndarray  # int32 [num_nodes], the id of the word that the prefix is; -1 where it is none
    depths: np.ndarray  # int32 [num_nodes], the length of the prefix
    look_ahead: np.ndarray  # float32 [num_nodes], log probability of the best word (as a unigram) that begins so


def folded(text: str, tokens: Sequence[str]) -> str:
    """The text in the case of the vocabulary, where that has only one."""
    letters = ''.join(tokens)
    lower, upper = letters.lower(), letters.upper()
    return text if (letters == lower) == (letters == upper) else text.lower() if letters == lower else text.upper()


def build_lexicon(
    model: NgramModel, tokens: Sequence[str], hotwords: Collection[Sequence[int]] = ()
) -> tuple[Lexicon, float]:
    """The trie of all words of a model that single-character tokens spell, and of the hot words.

    Words are folded to the vocabulary's case. Of several words with one spelling (``The``, ``the``) the most
    frequent counts. Hot words (token ids) that the model lacks have the id of `<unk>`.

    Returns:
      The trie, and the log probability of each such hot word as an unknown word: the same for all of them.

    Raises:
      DataError: the vocabulary spells none of the words.
    """
    spellings = folded(model.word_text, tokens).split('\n')
    num_words, known = len(spellings), set(spellings if hotwords else ())
    lacking = [word for word in (''.join([tokens[each] for each in ids]) for ids in hotwords) if word not in known]
    if lacking:
        log.info('%s lacks %d of the %d words of the hot words', model.path, len(lacking), len(hotwords))
    unknown_hotword = -math.log(max(1, len(lacking)))
    unknown = model.tables.log_probs[1 + model.unknown_id] + unknown_hotword
    log_probs = np.append(model.tables.log_probs[1 : 1 + num_words], np.full(len(lacking), unknown, np.float32))
    spellings += lacking
    lengths = np.array([len(spelling) for spelling in spellings], np.int64)
    codes = np.frombuffer(''.join(spellings).encode('utf-32-le'), np.uint32)
    token_of = np.full(max(int(codes.max(initial=0)), max(map(ord, tokens))) + 1, -1, np.int32)
    for token_id, token in enumerate(tokens):
        if token != ' ':
            token_of[ord(token)] = token_id
    ids = token_of[codes]
    starts = np.cumsum(lengths) - lengths
    num_unknown = np.add.reduceat(np.append(ids < 0, False), starts, dtype=np.int64) * (lengths > 0)
    is_spelled = (num_unknown == 0) & (lengths > 0)
    is_spelled[[model.word_ids[word] for word in SPECIAL.intersection(model.word_ids)]] = False
    rows = np.flatnonzero(is_spelled)
    # the most probable word of a spelling comes last, and is what stays in the trie
    rows = rows[np.argsort(log_probs[rows], kind='stable')]
    words = np.where(rows < num_words, rows, model.unknown_id)
    lexicon = _make_trie(ids, starts[rows], lengths[rows], words, log_probs[rows])
    if num_doubles := len(rows) - int((lexicon.words >= 0).sum()):
        log.warning('%s: %d words differ from others in case only', model.path, num_doubles)
    check_coverage(model, len(rows) - len(lacking), len(model.words) - len(SPECIAL.intersection(model.word_ids)))
    return lexicon, unknown_hotword


def _make_trie(
    ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, words: np.ndarray, log_probs: np.ndarray
) -> Lexicon:
    """The trie, level by level, of the words ``words`` that lie at ``starts`` in ``ids``."""
    num_tokens = int(ids.max(initial=0)) + 1
    node_of = np.zeros(len(words), np.int64)
    parents, tokens = [np.zeros(1, np.int64)], [np.full(1, -1, np.int64)]
    num_nodes = 1
    alive = np.arange(len(words))
    for depth in range(int(lengths.max(initial=0))):
        alive = alive[lengths[alive] > depth]
        keys, inverse = np.unique(node_of[alive] * num_tokens + ids[starts[alive] + depth], return_inverse=True)
        parents.append(keys // num_tokens)
        tokens.append(keys % num_tokens)
        node_of[alive] = num_nodes + inverse
        num_nodes += len(keys)
    word_ids, look_ahead = np.full(num_nodes, -1, np.int32), np.full(num_nodes, -np.inf, np.float32)
    word_ids[node_of], look_ahead[node_of] = words, log_probs
    all_parents = np.concatenate(parents)
    for first in np.cumsum([len(level) for level in parents])[-2::-1]:  # from the last level up
        np.maximum.at(look_ahead, all_parents[first:], look_ahead[first:])
    children = (1 + np.searchsorted(all_parents[1:], np.arange(num_nodes + 1))).astype(np.int32)
    depths = np.repeat(np.arange(len(tokens)), [len(level) for level in tokens]).astype(np.int32)
    return frozen(Lexicon(children, np.concatenate(tokens).astype(np.int32), word_ids, depths, look_ahead))


def check_coverage(model: NgramModel, num_known: int, num_all: int) -> None:
    """Warns where a vocabulary spells less than half of the words of a model; DataError where it spells none."""
    if not num_known:
        found = f'{model.path}: none of its words (the first: {first_words(model)}) can be spelled with the vocabulary'
        raise DataError(f'{found}; give a model of the same language and alphabet')
    if num_known < 0.5 * num_all:
        log.warning('%s: only %d of %d words can be spelled with the vocabulary', model.path, num_known, num_all)


def first_words(model: NgramModel) -> str:
    return ', '.join(repr(word) for word in [word for word in model.words if word not in SPECIAL][:3]) or 'none'
