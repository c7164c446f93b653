"""An n-gram model beside a beam search that writes one symbol at a time, as an attention model's does.

Each live hypothesis has a state, a row of an int64 array `[hypotheses, 2]` that is gathered like any other array:

    fused = LabelFusion(make_fusion(load_model(path), tokens, Weights(lm_weight, word_bonus)))
    states = fused.start(num_hypotheses)                  # before the first symbol
    added = fused.scores(states)                          # [hypotheses, classes], to be added to log P(y_i | y_<i, x)
    states = fused.follow(states[parents], symbols)       # of the hypotheses that were kept, after their new symbols

Class ``num_tokens``, the last, is the end of the text (`<sos>/<eos>`). The hypotheses of a whole batch go into one
call. What is added to a text that has ended sums up to

    lm_weight * log P_LM(y) + word_bonus * words(y)

`</s>` included, exactly as `fusion_steps.score_symbols` has it for a CTC beam. A character model says its part at
each symbol. A word model does so at a word's end, the space or the end of the text; within a word the prefix is charged
what the most probable word that begins so will cost at least (see `fusion_steps.follow`), which the word's end gives
back, so that prefixes compare fairly. A word outside the model costs `<unk>` and its letters, or is forbidden (-inf),
as ``make_fusion`` was told; so are words outside the lexicon of a character model. A hypothesis that was not forbidden
itself always has a class that is not.
"""

from typing import NamedTuple

import numpy as np

from utils.jit import compiled, kernel
from utils.lm.fusion_steps import AT_ROOT, CHAR, NONE, Fusion, finish, follow
from utils.lm.ngram_tables import ROOT

STATE, LEXICON_NODE = range(2)
MAX_CONTEXTS = 16  # an ARPA file's order is at most 10


class LabelScores(NamedTuple):
    """What a language model says of every next class.

    Attributes:
      log_probs: float32 `[hypotheses, classes]`, natural log, without weight; -inf where it is forbidden.
      num_words: float32 `[hypotheses, classes]`, 1 where a word begins (with a character model: at each symbol).
    """

    log_probs: np.ndarray
    num_words: np.ndarray


class LabelFusion:
    """A language model for a search over label sequences; see the module for how to use it.

    Attributes:
      num_tokens: of the vocabulary.
      num_classes: one more; the last class ends a text.
    """

    def __init__(self, fusion: Fusion):
        """Takes a model that `fusion.make_fusion` has joined to the vocabulary."""
        self._fusion = fusion
        self.num_tokens = len(fusion.token_words)
        self.num_classes = self.num_tokens + 1
        # the tokens of each word of a character model: the first one, and after each the next one (-1: no more)
        self._first_tokens, self._next_tokens = _tokens_of_words(fusion)

    def start(self, num_hypotheses: int) -> np.ndarray:
        """The states before the first symbol, int64 `[num_hypotheses, 2]`."""
        return np.tile(np.array([self._fusion.start_state, AT_ROOT], np.int64), (num_hypotheses, 1))

    def log_probs(self, states: np.ndarray) -> LabelScores:
        """The log probability of every class after each state, and the words that begin with it; no weights."""
        states = self._checked(states)
        shape = len(states), self.num_classes
        found = LabelScores(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        if self._fusion.mode == CHAR and self._fusion.allows_unknown:
            _score_characters(self._fusion, states, self._first_tokens, self._next_tokens, *found)
        elif self._fusion.mode != NONE:
            _score_letters(self._fusion, states, *found)
        return found

    def scores(self, states: np.ndarray) -> np.ndarray:
        """What to add to the acoustic scores of every class: float32 `[hypotheses, classes]`, weights applied."""
        log_probs, num_words = self.log_probs(states)
        is_forbidden = np.isneginf(log_probs)
        weighted = self._fusion.lm_weight * np.where(is_forbidden, 0.0, log_probs) + self._fusion.word_bonus * num_words
        return np.where(is_forbidden, -np.inf, weighted).astype(np.float32)

    def follow(self, states: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """The states after one more class each, int `[hypotheses]`; a text that ends keeps its state."""
        states, symbols = self._checked(states), np.asarray(symbols)
        if symbols.shape != states.shape[:1]:
            raise ValueError(f'symbols {symbols.shape} must be [{len(states)}], one for each state')
        if len(symbols) and not 0 <= symbols.min() <= symbols.max() <= self.num_tokens:
            raise ValueError(f'symbols lie outside the {self.num_classes} classes: {symbols}')
        following = states.copy()
        _follow_all(self._fusion, following, symbols.astype(np.int64))
        return following

    @staticmethod
    def _checked(states: np.ndarray) -> np.ndarray:
        states = np.ascontiguousarray(states, np.int64)
        if states.ndim != 2 or states.shape[1] != 2:
            raise ValueError(f'states {states.shape} must be [hypotheses, 2]')
        return states


def _tokens_of_words(fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """Linked lists, since all tokens that the model lacks are one word, `<unk>`."""
    firsts = np.full(len(fusion.tables.words) if fusion.mode == CHAR else 1, -1, np.int32)
    following = np.full(len(fusion.token_words), -1, np.int32)
    if fusion.mode == CHAR:
        for token in range(len(fusion.token_words)):
            word = fusion.token_words[token]
            following[token], firsts[word] = firsts[word], token
    return firsts, following


@compiled
def _score_characters(
    fusion: Fusion,
    states: np.ndarray,
    first_tokens: np.ndarray,
    next_tokens: np.ndarray,
    log_probs: np.ndarray,
    num_words: np.ndarray,
) -> None:
    """Each context writes over what the shorter ones say of its words: no search, which thousands of classes need."""
    tables = fusion.tables
    num_tokens = len(next_tokens)
    contexts, backoffs = np.empty(MAX_CONTEXTS, np.int64), np.empty(MAX_CONTEXTS)
    for row in range(len(states)):
        num_contexts, backoff, node = 0, 0.0, states[row, STATE]
        while node != ROOT:
            contexts[num_contexts], backoffs[num_contexts] = node, backoff
            num_contexts += 1
            backoff += tables.backoffs[node]
            node = np.int64(tables.links[node])
        for token in range(num_tokens):
            log_probs[row, token] = backoff + tables.log_probs[1 + fusion.token_words[token]]
            num_words[row, token] = 1.0
        for position in range(num_contexts - 1, -1, -1):
            node = contexts[position]
            for child in range(tables.children[node], tables.children[node + 1]):
                token = first_tokens[tables.words[child]]
                while token >= 0:
                    log_probs[row, token] = backoffs[position] + tables.log_probs[child]
                    token = next_tokens[token]
        log_probs[row, num_tokens] = finish(fusion, states[row, STATE], AT_ROOT)


@kernel
def _score_letters(fusion: Fusion, states: np.ndarray, log_probs: np.ndarray, num_words: np.ndarray) -> None:
    num_tokens = log_probs.shape[1] - 1
    for row in range(len(states)):
        state, lexicon_node = states[row, STATE], states[row, LEXICON_NODE]
        for token in range(num_tokens):
            log_prob, begun, _, _ = follow(fusion, state, lexicon_node, token)
            log_probs[row, token], num_words[row, token] = log_prob, begun
        log_probs[row, num_tokens] = finish(fusion, state, lexicon_node)


@kernel
def _follow_all(fusion: Fusion, states: np.ndarray, symbols: np.ndarray) -> None:
    for row in range(len(states)):
        if symbols[row] < len(fusion.token_words):
            _, _, state, lexicon_node = follow(fusion, states[row, STATE], states[row, LEXICON_NODE], symbols[row])
            states[row, STATE], states[row, LEXICON_NODE] = state, lexicon_node
