"""What a language model adds to a prefix, symbol by symbol, at compiled speed."""

from typing import NamedTuple

import numpy as np

from utils.jit import kernel
from utils.lm.lexicon import Lexicon
from utils.lm.ngram_tables import NgramTables, advance, find_child

NONE, WORD, CHAR = range(3)
# the "node" of a prefix of n letters that no word of the lexicon begins with is -n
AT_ROOT = 0  # the node between words


class Fusion(NamedTuple):
    """A language model joined to a vocabulary; made by `fusion.make_fusion`.

    Attributes:
      mode: `NONE`, `WORD` or `CHAR`.
      tables: the n-grams.
      lexicon: the spellings of the words (mode `WORD`, and mode `CHAR` where words outside it are forbidden).
      token_words: int32 `[num_tokens]`, the word id of each token (mode `CHAR`).
      space_id: the token that ends a word, -1 where there is no lexicon.
      unknown_id: the id of `<unk>`.
      end_id: the id of `</s>`; -1: the end is not scored.
      start_state: the state before the first word.
      allows_unknown: whether words outside the lexicon may be found.
      unknown_letter: the log probability of each letter of an unknown word.
      lm_weight: alpha.
      word_bonus: beta.
    """

    mode: int
    tables: NgramTables
    lexicon: Lexicon
    token_words: np.ndarray
    space_id: int
    unknown_id: int
    end_id: int
    start_state: int
    allows_unknown: bool
    unknown_letter: float
    lm_weight: float
    word_bonus: float


@kernel
def word_log_prob(fusion: Fusion, state: int, lexicon_node: int) -> tuple[float, int]:
    """The log probability of the word that ends at a lexicon node, -inf where it is forbidden; the next state."""
    num_letters = -np.int64(lexicon_node)
    if lexicon_node > 0:
        word = np.int64(fusion.lexicon.words[lexicon_node])
        if word >= 0:
            return advance(fusion.tables, state, word)
        num_letters = np.int64(fusion.lexicon.depths[lexicon_node])
    if not fusion.allows_unknown:
        return -np.inf, np.int64(state)
    log_prob, following = advance(fusion.tables, state, fusion.unknown_id)
    return log_prob + fusion.unknown_letter * num_letters, following


@kernel
def ends_word(fusion: Fusion, lexicon_node: int) -> bool:
    """Whether a word of the lexicon, or none, ends here."""
    return lexicon_node == AT_ROOT or (lexicon_node > 0 and fusion.lexicon.words[lexicon_node] >= 0)


@kernel
def estimate(fusion: Fusion, lexicon_node: int) -> float:
    """What an open word will cost at least, roughly, whatever stands before it; 0 between words."""
    if lexicon_node == AT_ROOT:
        return 0.0
    if lexicon_node > 0:
        return fusion.lexicon.estimates[lexicon_node]
    return fusion.tables.log_probs[1 + fusion.unknown_id] - fusion.unknown_letter * lexicon_node


@kernel
def closing_bound(fusion: Fusion, lexicon_node: int) -> float:
    """The most that the end of an open word can multiply a weight with: 0 where it is none, else as if it were sure."""
    if lexicon_node == AT_ROOT:
        return 1.0
    if not fusion.allows_unknown and not ends_word(fusion, lexicon_node):
        return 0.0
    return np.exp(-fusion.lm_weight * estimate(fusion, lexicon_node))


@kernel
def follow(fusion: Fusion, state: int, lexicon_node: int, symbol: int) -> tuple[float, int, int, int]:
    """Appends a symbol to a prefix.

    An open word is charged its `estimate`, and with its end gets what it really costs, so that prefixes within
    words compare fairly with those at word ends; the sum over a text is exact.

    Returns:
      The log probability that the language model gives for the symbol (-inf where it is forbidden), the
      number of words (or symbols) that begin with it, the next state and the next lexicon node.
    """
    if fusion.mode == CHAR:
        log_prob, following = advance(fusion.tables, state, fusion.token_words[symbol])
        if fusion.allows_unknown:
            return log_prob, 1, following, np.int64(AT_ROOT)
        if symbol == fusion.space_id:
            return log_prob if ends_word(fusion, lexicon_node) else -np.inf, 1, following, np.int64(AT_ROOT)
        node = _spell(fusion, lexicon_node, symbol)
        return log_prob if node > 0 else -np.inf, 1, following, node
    if fusion.mode == NONE:
        return 0.0, 0, np.int64(state), np.int64(lexicon_node)
    if symbol == fusion.space_id:
        if lexicon_node == AT_ROOT:  # a space at the beginning or after a space ends no word
            return 0.0, 0, np.int64(state), np.int64(AT_ROOT)
        log_prob, following = word_log_prob(fusion, state, lexicon_node)
        return log_prob - estimate(fusion, lexicon_node), 0, following, np.int64(AT_ROOT)
    node = _spell(fusion, lexicon_node, symbol)
    if node < 0 and not fusion.allows_unknown:
        return -np.inf, 0, np.int64(state), node
    begun = 1 if lexicon_node == AT_ROOT else 0
    return estimate(fusion, node) - estimate(fusion, lexicon_node), begun, np.int64(state), node


@kernel
def _spell(fusion: Fusion, lexicon_node: int, symbol: int) -> int:
    """The node of a prefix with one more letter."""
    node = np.int64(lexicon_node)
    if node < 0:
        return node - 1
    child = find_child(fusion.lexicon.tokens, fusion.lexicon.children[node], fusion.lexicon.children[node + 1], symbol)
    return child if child >= 0 else -np.int64(fusion.lexicon.depths[node]) - 1


@kernel
def finish(fusion: Fusion, state: int, lexicon_node: int) -> float:
    """Ends a text: the log probability of its last word, if one is open, less its estimate, and of `</s>`."""
    log_prob, node = 0.0, np.int64(state)
    if fusion.mode == NONE:
        return log_prob
    if fusion.mode == CHAR and not fusion.allows_unknown and not ends_word(fusion, lexicon_node):
        return -np.inf
    if fusion.mode == WORD and lexicon_node != AT_ROOT:
        log_prob, node = word_log_prob(fusion, node, lexicon_node)
        log_prob -= estimate(fusion, lexicon_node)
    if fusion.end_id >= 0:
        end_log_prob, _ = advance(fusion.tables, node, fusion.end_id)
        log_prob += end_log_prob
    return log_prob


@kernel
def score_symbols(fusion: Fusion, symbols: np.ndarray) -> tuple[float, int]:
    """The log probability of a whole text, -inf where it holds a forbidden word, and its words (or symbols)."""
    log_prob, num_words = 0.0, 0
    state, lexicon_node = np.int64(fusion.start_state), np.int64(AT_ROOT)
    for symbol in symbols:
        added, begun, state, lexicon_node = follow(fusion, state, lexicon_node, symbol)
        log_prob += added
        num_words += begun
    return log_prob + finish(fusion, state, lexicon_node), num_words


@kernel
def fused(fusion: Fusion, log_prob: float, num_words: int) -> float:
    """alpha * log P + beta * words; what is forbidden stays so where alpha is 0."""
    if log_prob == -np.inf:
        return log_prob
    return fusion.lm_weight * log_prob + fusion.word_bonus * num_words
