"""Scorer: an n-gram model joined to an acoustic model's vocabulary; it scores prefixes of symbols in beam searches.

    score(text) = lm_weight * log P(text) + word_bonus * (number of words; of symbols with a character model)

A character model is applied at each symbol, a word model at word boundaries: the space, and the end of the text. Within
a word a lexicon, the trie of the spellings of the model's words, gives the word that the prefix may become, and the
prefix is charged its LM look-ahead, which the end of the word gives back, so that prefixes compare fairly. `</s>` is
included. A word outside the model costs `<unk>` and its letters, or is forbidden (-inf). Hot words that the model lacks
are allowed in any case; they share `<unk>` in equal parts.

The kernels serve the CTC beam search. The attention beam scores all classes of many hypotheses at once; its states,
int64 `[hypotheses, 2]`, are gathered like any other array, and class ``num_tokens`` is the end of the text:

    states = scorer.start(num_hypotheses)              # before the first symbol
    added = scorer.scores(states)                      # [hypotheses, classes], added to log P(y_i | y_<i, x)
    states = scorer.follow(states[parents], symbols)   # of the hypotheses that were kept, after their new symbols
"""

import logging
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from utils.data.vocabulary import SPACE
from utils.errors import DataError
from utils.jit import kernel
from utils.lm.context_graph import ContextGraph, build_graph
from utils.lm.lexicon import SPECIAL, Lexicon, build_lexicon, check_coverage, first_words, folded
from utils.lm.ngram import ROOT, NgramModel, NgramTables, advance, find_child, frozen, load_model

log = logging.getLogger(__name__)

NONE, WORD, CHAR = range(3)
AT_ROOT = 0  # the lexicon node between words; that of n letters which begin no word of the lexicon is -n


class Scorer(NamedTuple):
    """A language model joined to a vocabulary; made by `make_scorer`."""

    mode: int  # `NONE`, `WORD` or `CHAR`
    tables: NgramTables
    lexicon: Lexicon  # of the model's words (mode `WORD`); of words that alone are allowed, if any (mode `CHAR`)
    token_words: np.ndarray  # int32 [num_tokens], the word id of each token (mode `CHAR`)
    word_tokens: np.ndarray  # int32 [num_words], the first token of each word, -1 for none (mode `CHAR`)
    space_id: int  # the token that ends a word, -1 where there is no lexicon
    unknown_id: int  # word id of `<unk>`
    end_id: int  # word id of `</s>`; -1: the end is not scored
    start_state: int  # before the first word
    allows_unknown: bool  # whether words outside the lexicon may be found
    unknown_letter: float  # log probability of each letter of an unknown word
    unknown_hotword: float  # log probability, as an unknown word, of each hot word that the model lacks
    lm_weight: float
    word_bonus: float
    hotwords: ContextGraph  # of the CTC beam search; the attention beam has a scorer for them

    @property
    def unit(self) -> str:
        """'char' where one word of the model is a token of the vocabulary, else 'word'."""
        return 'char' if self.mode == CHAR else 'word'

    def start(self, num_hypotheses: int) -> np.ndarray:
        """The states before the first symbol, int64 `[num_hypotheses, 2]`."""
        return np.tile(np.array([self.start_state, AT_ROOT], np.int64), (num_hypotheses, 1))

    def scores(self, states: np.ndarray) -> np.ndarray:
        """The weighted score of every class after each state, float32 `[hypotheses, classes]`; -inf is forbidden."""
        scores = np.zeros((len(states), len(self.token_words) + 1), np.float32)
        if self.mode != NONE:
            _score_classes(self, np.ascontiguousarray(states), scores)
        return scores

    def follow(self, states: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """The states after one more class each, int `[hypotheses]`; a text that ends keeps its state."""
        if symbols.shape != states.shape[:1] or np.any((symbols < 0) | (symbols > len(self.token_words))):
            raise ValueError(f'symbols {symbols} must be one class for each of {len(states)} states')
        following = states.copy()
        _follow_all(self, following, symbols.astype(np.int64))
        return following

    def charged(self, states: np.ndarray) -> np.ndarray:
        """The look-ahead that the open word of each state `[..., 2]` was charged, weighted, as a gain."""
        nodes = states[..., 1]
        if self.mode != WORD:
            return np.zeros(nodes.shape)
        unknown = self.tables.log_probs[1 + self.unknown_id] - self.unknown_letter * nodes
        charges = np.where(nodes > AT_ROOT, self.lexicon.look_ahead[np.maximum(nodes, AT_ROOT)], unknown)
        return np.where(nodes == AT_ROOT, 0.0, -self.lm_weight * charges)


@kernel
def word_log_prob(scorer: Scorer, state: int, lexicon_node: int) -> tuple[float, np.int64]:
    """The log probability of the word that ends at a lexicon node, -inf where it is forbidden; the next state."""
    num_letters = -np.int64(lexicon_node)
    if lexicon_node > 0:
        word = np.int64(scorer.lexicon.words[lexicon_node])
        if word >= 0:
            log_prob, following = advance(scorer.tables, state, word)
            if word == scorer.unknown_id:
                log_prob += _unknown_hotword(scorer, lexicon_node)
            return log_prob, following
        num_letters = np.int64(scorer.lexicon.depths[lexicon_node])
    if not scorer.allows_unknown:
        return -np.inf, np.int64(state)
    log_prob, following = advance(scorer.tables, state, scorer.unknown_id)
    return log_prob + scorer.unknown_letter * num_letters, following


@kernel
def _unknown_hotword(scorer: Scorer, lexicon_node: int) -> float:
    """log probability, as an unknown word, of a hot word that the model lacks; by its letters where that is more."""
    by_letters = scorer.unknown_letter * scorer.lexicon.depths[lexicon_node] if scorer.allows_unknown else -np.inf
    return max(scorer.unknown_hotword, by_letters)


@kernel
def ends_word(scorer: Scorer, lexicon_node: int) -> bool:
    """True between words and at the end of a word of the lexicon."""
    return lexicon_node == AT_ROOT or (lexicon_node > 0 and scorer.lexicon.words[lexicon_node] >= 0)


@kernel
def look_ahead(scorer: Scorer, lexicon_node: int) -> float:
    """LM look-ahead: unigram log probability of the best word that completes this prefix; 0 between words."""
    if lexicon_node == AT_ROOT:
        return 0.0
    if lexicon_node > 0:
        return scorer.lexicon.look_ahead[lexicon_node]
    return scorer.tables.log_probs[1 + scorer.unknown_id] - scorer.unknown_letter * lexicon_node


@kernel
def closing_bound(scorer: Scorer, lexicon_node: int) -> float:
    """Upper bound of the factor that the end of the open word puts on a weight; 0 where no word may end."""
    if lexicon_node == AT_ROOT:
        return 1.0
    if not scorer.allows_unknown and not ends_word(scorer, lexicon_node):
        return 0.0
    return np.exp(-scorer.lm_weight * look_ahead(scorer, lexicon_node))


@kernel
def follow(scorer: Scorer, state: int, lexicon_node: int, symbol: int) -> tuple[float, int, np.int64, np.int64]:
    """Appends a symbol to a prefix.

    Returns:
      The log probability of the symbol with LM look-ahead (-inf where it is forbidden; the sum over a text is exact),
      the number of words (or symbols) that begin with it, the next state and the next lexicon node.
    """
    if scorer.mode == CHAR:
        log_prob, following = advance(scorer.tables, state, scorer.token_words[symbol])
        if scorer.allows_unknown:
            return log_prob, 1, following, np.int64(AT_ROOT)
        if symbol == scorer.space_id:
            return log_prob if ends_word(scorer, lexicon_node) else -np.inf, 1, following, np.int64(AT_ROOT)
        node = _spell(scorer, lexicon_node, symbol)
        return log_prob if node > 0 else -np.inf, 1, following, node
    if scorer.mode == NONE:
        return 0.0, 0, np.int64(state), np.int64(lexicon_node)
    if symbol == scorer.space_id:
        if lexicon_node == AT_ROOT:  # a space at the beginning or after a space ends no word
            return 0.0, 0, np.int64(state), np.int64(AT_ROOT)
        log_prob, following = word_log_prob(scorer, state, lexicon_node)
        return log_prob - look_ahead(scorer, lexicon_node), 0, following, np.int64(AT_ROOT)
    node = _spell(scorer, lexicon_node, symbol)
    if node < 0 and not scorer.allows_unknown:
        return -np.inf, 0, np.int64(state), node
    begun = 1 if lexicon_node == AT_ROOT else 0
    return look_ahead(scorer, node) - look_ahead(scorer, lexicon_node), begun, np.int64(state), node


@kernel
def _spell(scorer: Scorer, lexicon_node: int, symbol: int) -> np.int64:
    """The node of a prefix with one more letter."""
    node = np.int64(lexicon_node)
    if node < 0:
        return node - 1
    child = find_child(scorer.lexicon.tokens, scorer.lexicon.children[node], scorer.lexicon.children[node + 1], symbol)
    return child if child >= 0 else -np.int64(scorer.lexicon.depths[node]) - 1


@kernel
def finish(scorer: Scorer, state: int, lexicon_node: int) -> float:
    """Ends a text: the log probability of its last word, if one is open, less its look-ahead, and of `</s>`."""
    log_prob, node = 0.0, np.int64(state)
    if scorer.mode == NONE:
        return log_prob
    if scorer.mode == CHAR and not scorer.allows_unknown and not ends_word(scorer, lexicon_node):
        return -np.inf
    if scorer.mode == WORD and lexicon_node != AT_ROOT:
        log_prob, node = word_log_prob(scorer, node, lexicon_node)
        log_prob -= look_ahead(scorer, lexicon_node)
    if scorer.end_id >= 0:
        log_prob += advance(scorer.tables, node, scorer.end_id)[0]
    return log_prob


@kernel
def score_symbols(scorer: Scorer, symbols: np.ndarray) -> tuple[float, int]:
    """The log probability of a whole text, -inf where it holds a forbidden word, and its words (or symbols)."""
    log_prob, num_words = 0.0, 0
    state, lexicon_node = np.int64(scorer.start_state), np.int64(AT_ROOT)
    for symbol in symbols:
        added, begun, state, lexicon_node = follow(scorer, state, lexicon_node, symbol)
        log_prob += added
        num_words += begun
    return log_prob + finish(scorer, state, lexicon_node), num_words


@kernel
def fused(scorer: Scorer, log_prob: float, num_words: int) -> float:
    """alpha * log P + beta * words; what is forbidden stays so where alpha is 0."""
    if log_prob == -np.inf:
        return log_prob
    return scorer.lm_weight * log_prob + scorer.word_bonus * num_words


class Weights(NamedTuple):
    """Weight of the language model's log probability, and bonus for each word (or symbol): alpha and beta."""

    lm_weight: float = 0.0
    word_bonus: float = 0.0


def no_scorer(num_tokens: int) -> Scorer:
    """The scorer of a search without a language model."""
    ids = np.full(max(1, num_tokens), -1, np.int32)
    arrays = np.zeros(2, np.uint32), np.zeros(1, np.float32), np.zeros(2, np.int32), ids
    uints, floats, ints, ids = frozen(arrays)
    tables, lexicon = NgramTables(uints, floats, uints, floats, uints), Lexicon(ints, ints, ints, ints, floats)
    return Scorer(NONE, tables, lexicon, ids, ids, -1, 0, -1, 0, True, 0.0, 0.0, 0.0, 0.0, build_graph({}))


def model_unit(model: NgramModel, tokens: Sequence[str]) -> str:
    """'char' where every word of the model is a token of the vocabulary or a single character, else 'word'."""
    known = {SPACE if token == ' ' else token for token in tokens} | SPECIAL
    known |= {token.swapcase() for token in known if len(token) == 1}
    has_long_tokens = any(len(token) > 1 for token in tokens)
    strange = sum(word not in known and (has_long_tokens or len(word) > 1) for word in model.words)
    return 'char' if strange <= (len(model.words) // 2 if has_long_tokens else 0) else 'word'


def make_scorer(
    model: NgramModel, tokens: Sequence[str], weights: Weights,
    unknown_words: bool = True, lexicon_model: NgramModel | None = None, hotwords: Collection[Sequence[int]] = (),
) -> Scorer:  # fmt: skip
    """Joins a model to a vocabulary.

    Each letter of an unknown word adds -log(number of tokens) to the log probability of `<unk>`, that of any unknown
    word, which makes it the probability of this word. Without it, one long unknown word is often more probable than
    several known ones.

    Args:
      model: the language model.
      tokens: the tokens of the acoustic model's vocabulary in the order of their ids, the space as ``' '``.
      weights: `with_weights` changes them later.
      unknown_words: False forbids words that the model lacks.
      lexicon_model: word model beside a character model; words that it lacks are forbidden.
      hotwords: token ids of words that are allowed, and cheaper than unknown ones, if the lexicon lacks them.

    Raises:
      DataError: model and vocabulary do not fit each other.
    """
    base = no_scorer(len(tokens))._replace(
        tables=model.tables, end_id=model.end_id, start_state=model.start_state, unknown_id=model.unknown_id,
        allows_unknown=bool(unknown_words), unknown_letter=-math.log(len(tokens)),
    )  # fmt: skip
    if model_unit(model, tokens) == 'char':
        words, firsts = _token_words(model, tokens)
        scorer = base._replace(mode=CHAR, token_words=words, word_tokens=firsts, allows_unknown=True)
        if lexicon_model is not None:
            if ' ' not in tokens or model_unit(lexicon_model, tokens) == 'char':
                raise DataError(
                    f'{lexicon_model.path} cannot be a lexicon: it takes a model of words, as scripts/train_lm.py -o 1 '
                    f'makes it (the first here: {first_words(lexicon_model)}), and a vocabulary with {SPACE}'
                )
            lexicon, _ = build_lexicon(lexicon_model, tokens, hotwords)
            scorer = scorer._replace(lexicon=lexicon, space_id=list(tokens).index(' '), allows_unknown=False)
    elif ' ' not in tokens:
        raise DataError(
            f'{model.path} is a model of words (the first: {first_words(model)}), but the vocabulary has no {SPACE} '
            'to end a word with; train a model with scripts/train_lm.py --unit char'
        )
    else:
        lexicon, unknown_hotword = build_lexicon(model, tokens, hotwords)
        if unknown_words:  # words outside the lexicon may begin like those in it
            unknown = model.tables.log_probs[1 + model.unknown_id] + base.unknown_letter * lexicon.depths
            lexicon = frozen(lexicon._replace(look_ahead=np.maximum(lexicon.look_ahead, unknown).astype(np.float32)))
        space_id = list(tokens).index(' ')
        scorer = base._replace(mode=WORD, lexicon=lexicon, space_id=space_id, unknown_hotword=unknown_hotword)
    return with_weights(scorer, weights)


def load_scorer(
    path: str, tokens: Sequence[str], lm_weight: float, word_bonus: float, lexicon: str = 'no',
    hotwords: Collection[Sequence[int]] = (),
) -> Scorer:  # fmt: skip
    """Loads the language model of an ARPA file and joins it to a vocabulary, as `make_scorer` does.

    ``lexicon``: 'yes' forbids words that the (word) model lacks; the path of a word model, beside a character model,
    forbids words that this one lacks; 'no' forbids none. ``hotwords`` as in `make_scorer`.
    """
    words = None if lexicon in ('yes', 'no') else load_model(lexicon)
    scorer = make_scorer(load_model(path), tokens, Weights(lm_weight, word_bonus), lexicon != 'yes', words, hotwords)
    if scorer.unit == 'char' and lexicon == 'yes':
        raise DataError(f'{path} is a model of characters, which has no words; give --lexicon a model of words')
    if scorer.unit == 'word' and words is not None:
        raise DataError(f'{path} is a model of words and its own lexicon; give --lexicon yes, or no')
    return scorer


def with_weights(scorer: Scorer, weights: Weights) -> Scorer:
    """The same scorer with other weights, which takes no time."""
    lm_weight, word_bonus = map(float, weights)
    if not (0 <= lm_weight < 1e3 and abs(word_bonus) < 1e3):
        raise DataError(f'lm_weight {lm_weight:g} must be 0 to 1000, and word_bonus {word_bonus:g} -1000 to 1000')
    return scorer._replace(lm_weight=lm_weight, word_bonus=word_bonus)


def _token_words(model: NgramModel, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The word id of each token, `<unk>` where the model lacks it; the first token of each word, -1 for none."""
    word_ids = {**{folded(word, tokens): word_id for word, word_id in model.word_ids.items()}, **model.word_ids}
    found = np.array([word_ids.get(SPACE if token == ' ' else token, -1) for token in tokens], np.int32)
    check_coverage(model, int((found >= 0).sum()), len(tokens))
    if ' ' in tokens and found[list(tokens).index(' ')] < 0:
        log.warning('%s lacks %s; it scores as an unknown symbol', model.path, SPACE)
    found[found < 0] = model.unknown_id
    firsts = np.full(len(model.words), -1, np.int32)
    firsts[found[::-1]] = np.arange(len(tokens), dtype=np.int32)[::-1]
    return frozen((found, firsts))


@kernel
def _score_classes(scorer: Scorer, states: np.ndarray, scores: np.ndarray) -> None:
    """Writes the score of every class after each state; the last class ends the text."""
    num_tokens = scores.shape[1] - 1
    for row in range(len(states)):
        state, lexicon_node = states[row, 0], states[row, 1]
        if scorer.mode == CHAR and scorer.allows_unknown:
            _score_tokens(scorer, state, row, scores)
        else:
            for token in range(num_tokens):
                log_prob, begun, _, _ = follow(scorer, state, lexicon_node, token)
                scores[row, token] = fused(scorer, log_prob, begun)
        scores[row, num_tokens] = fused(scorer, finish(scorer, state, lexicon_node), 0)


@kernel
def _score_tokens(scorer: Scorer, state: int, row: int, scores: np.ndarray) -> None:
    """The scores of all tokens of a character model, from the longest context down: no search for each token."""
    tables, num_tokens = scorer.tables, len(scorer.token_words)
    scores[row, :num_tokens] = np.nan
    backoff, node = 0.0, np.int64(state)
    while node != ROOT:
        for child in range(tables.children[node], tables.children[node + 1]):
            token = scorer.word_tokens[tables.words[child]]
            if token >= 0 and np.isnan(scores[row, token]):
                scores[row, token] = backoff + tables.log_probs[child]
        backoff += tables.backoffs[node]
        node = np.int64(tables.links[node])
    for token in range(num_tokens):
        word = scorer.token_words[token]
        if scorer.word_tokens[word] < token:  # a token that the model lacks costs what the first of them does
            scores[row, token] = scores[row, scorer.word_tokens[word]]
        elif np.isnan(scores[row, token]):
            scores[row, token] = fused(scorer, backoff + tables.log_probs[1 + word], 1)
        else:
            scores[row, token] = fused(scorer, np.float64(scores[row, token]), 1)


@kernel
def _follow_all(scorer: Scorer, states: np.ndarray, symbols: np.ndarray) -> None:
    for row in range(len(states)):
        if symbols[row] < len(scorer.token_words):
            _, _, states[row, 0], states[row, 1] = follow(scorer, states[row, 0], states[row, 1], symbols[row])
