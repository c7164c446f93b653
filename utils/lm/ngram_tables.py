"""The arrays of an n-gram model and one step of its scoring, at compiled speed.

The n-grams form a trie. Node 0 is the empty context, node ``1 + word`` the unigram of a word, and the
children of a node stand together, sorted by word, so that a step is a binary search in the children of
the state and, where the word is not among them, the same one context shorter. A state is the node of
the longest context that the model knows; it takes no strings and no hashing.

All probabilities are natural logarithms.
"""

from typing import NamedTuple

import numpy as np

from utils.jit import kernel

ROOT = 0


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


@kernel
def find_child(words: np.ndarray, first: int, end: int, word: int) -> int:
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
def advance(tables: NgramTables, state: int, word: int) -> tuple[float, int]:
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
def score_words(tables: NgramTables, state: int, words: np.ndarray, log_probs: np.ndarray) -> int:
    """Writes the log probability of each word after those before it; returns the state after them all."""
    node = np.int64(state)
    for position in range(len(words)):
        log_prob, node = advance(tables, node, words[position])
        log_probs[position] = log_prob
    return node


@kernel
def find_nodes(tables: NgramTables, ngrams: np.ndarray, nodes: np.ndarray) -> int:
    """Finds the node of every row of ``ngrams`` (`[rows, order]`), -1 where there is none; returns how many lack."""
    num_missing = 0
    for row in range(len(ngrams)):
        node = np.int64(ngrams[row, 0]) + 1
        for position in range(1, ngrams.shape[1]):
            node = find_child(tables.words, tables.children[node], tables.children[node + 1], ngrams[row, position])
            if node < 0:
                num_missing += 1
                break
        nodes[row] = node
    return num_missing


@kernel
def link_level(
    tables: NgramTables, parents: np.ndarray, words: np.ndarray, links: np.ndarray, log_probs: np.ndarray
) -> None:
    """Links new n-grams to their longest suffixes in ``tables``, which hold the orders below.

    A suffix of `h w` is a suffix of `h` followed by `w`, so the links of the parents lead to it. An n-gram that
    was missing (its log probability NaN) gets what the definition gives it: it backs off.
    """
    for row in range(len(parents)):
        parent = np.int64(parents[row])
        word = words[row]
        if np.isnan(log_probs[row]):
            suffix_log_prob, _ = advance(tables, np.int64(tables.links[parent]), word)
            log_probs[row] = tables.backoffs[parent] + suffix_log_prob
        context = parent
        child = np.int64(-1)
        while child < 0:
            context = np.int64(tables.links[context])
            if context == ROOT:
                child = np.int64(word) + 1
            else:
                child = find_child(tables.words, tables.children[context], tables.children[context + 1], word)
        links[row] = child
