"""Joins an n-gram model to an acoustic model's vocabulary, so that a search can score prefixes of symbols.

A word model is asked at word ends; between them a lexicon, the trie of the spellings of the model's words,
says which word a prefix spells so far. A character model is asked at each symbol. The score of a text is

    lm_weight * log P(text) + word_bonus * (number of words; of symbols with a character model)
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.data.vocabulary import SPACE
from utils.errors import DataError
from utils.lm.arpa_words import END, START, UNKNOWN
from utils.lm.fusion_steps import CHAR, NONE, WORD, Fusion
from utils.lm.lexicon import Lexicon, build_lexicon, folded
from utils.lm.ngram import NgramModel
from utils.lm.ngram_tables import NgramTables

log = logging.getLogger(__name__)

UNITS = ('char', 'word')
SPECIAL = frozenset((UNKNOWN, START, END))


class Weights(NamedTuple):
    """Alpha and beta of the papers: of the language model's log probability, and for each word (or symbol)."""

    lm_weight: float = 0.0
    word_bonus: float = 0.0


def no_fusion(num_tokens: int) -> Fusion:
    """What a search without language model takes."""
    uints, floats, ints = np.zeros(2, np.uint32), np.zeros(1, np.float32), np.full(max(1, num_tokens), -1, np.int32)
    zeros = np.zeros(2, np.int32)
    for array in (uints, floats, ints, zeros):
        array.flags.writeable = False
    tables = NgramTables(uints, floats, uints, floats, uints)
    return Fusion(NONE, tables, Lexicon(zeros, zeros, zeros, zeros, floats), ints, -1, 0, -1, 0, True, 0.0, 0.0, 0.0)


def model_unit(model: NgramModel, tokens: Sequence[str]) -> str:
    """'char' where every word of the model is a token of the vocabulary or a single character, else 'word'."""
    known = {SPACE if token == ' ' else token for token in tokens} | SPECIAL
    known |= {token.swapcase() for token in known if len(token) == 1}
    has_long_tokens = any(len(token) > 1 for token in tokens)
    strange = sum(word not in known and (has_long_tokens or len(word) > 1) for word in model.words)
    return 'char' if strange <= (len(model.words) // 2 if has_long_tokens else 0) else 'word'


def make_fusion(
    model: NgramModel,
    tokens: Sequence[str],
    weights: Weights,
    unit: str | None = None,
    unknown_words: bool = True,
    unknown_letter: float | None = None,
    lexicon_model: NgramModel | None = None,
) -> Fusion:
    """Prepares the fusion of a model.

    Args:
      model: the language model.
      tokens: the tokens of the acoustic model's vocabulary in the order of their ids, the space as ``' '``.
      weights: of the language model. `with_weights` changes them later.
      unit: what one word of the model is, 'char' (a token) or 'word'; None: what its words look like.
      unknown_words: whether words that the model lacks may be found; else they are forbidden.
      unknown_letter: what each letter of an unknown word adds to the log probability of `<unk>`, which is that of any
        unknown word. None: that all tokens are alike, -log(their number), which makes it the probability of this
        word. With 0, one long unknown word is often more probable than several known ones.
      lexicon_model: beside a character model, a model of the only words that may be found.

    Raises:
      DataError: where model and vocabulary do not fit each other.
    """
    found_unit = model_unit(model, tokens)
    if unit is not None and unit != found_unit:
        raise DataError(
            f'{model.path}: its words are of the unit {found_unit} (the first: {_first_words(model)}), not {unit}; '
            f'train one with scripts/train_lm.py --unit {unit}'
        )
    base = no_fusion(len(tokens))._replace(
        tables=model.tables,
        end_id=model.end_id,
        start_state=model.start_state,
        unknown_id=model.unknown_id,
        allows_unknown=bool(unknown_words),
        unknown_letter=-math.log(len(tokens)) if unknown_letter is None else float(unknown_letter),
    )
    if found_unit == 'char':
        fusion = base._replace(mode=CHAR, token_words=_token_words(model, tokens), allows_unknown=True)
        if lexicon_model is not None:
            lexicon = _lexicon_beside(lexicon_model, tokens)
            fusion = fusion._replace(lexicon=lexicon, space_id=list(tokens).index(' '), allows_unknown=False)
    elif ' ' not in tokens:
        raise DataError(
            f'{model.path} is a model of words (the first: {_first_words(model)}), but the vocabulary has no {SPACE} '
            'to end a word with; train a model with scripts/train_lm.py --unit char'
        )
    else:
        lexicon, num_spelled = build_lexicon(model, tokens)
        _check_coverage(model, num_spelled, len(model.words) - len(SPECIAL.intersection(model.word_ids)))
        if unknown_words:  # words outside the lexicon may begin like those in it
            unknown = model.tables.log_probs[1 + model.unknown_id] + base.unknown_letter * lexicon.depths
            lexicon = lexicon._replace(estimates=np.maximum(lexicon.estimates, unknown).astype(np.float32))
            lexicon.estimates.flags.writeable = False
        fusion = base._replace(mode=WORD, lexicon=lexicon, space_id=list(tokens).index(' '))
    return with_weights(fusion, weights)


def _lexicon_beside(model: NgramModel, tokens: Sequence[str]) -> Lexicon:
    """The lexicon of a word model, for a character model."""
    if ' ' not in tokens or model_unit(model, tokens) == 'char':
        raise DataError(
            f'{model.path} cannot be a lexicon: it takes a model of words (the first: {_first_words(model)}), such as '
            f'scripts/train_lm.py -o 1 makes, and a vocabulary with {SPACE}'
        )
    lexicon, num_spelled = build_lexicon(model, tokens)
    _check_coverage(model, num_spelled, len(model.words) - len(SPECIAL.intersection(model.word_ids)))
    return lexicon


def with_weights(fusion: Fusion, weights: Weights) -> Fusion:
    """The same fusion with other weights, which takes no time."""
    lm_weight, word_bonus = float(weights.lm_weight), float(weights.word_bonus)
    if not (0 <= lm_weight < 1e3 and abs(word_bonus) < 1e3):
        raise DataError(
            f'lm_weight {lm_weight:g} and word_bonus {word_bonus:g} must be numbers from 0 and from -1000 to 1000'
        )
    return fusion._replace(lm_weight=lm_weight, word_bonus=word_bonus)


def _token_words(model: NgramModel, tokens: Sequence[str]) -> np.ndarray:
    """The word id of each token; tokens that the model lacks score as `<unk>`."""
    word_ids = {**{folded(word, tokens): word_id for word, word_id in model.word_ids.items()}, **model.word_ids}
    found = np.array([word_ids.get(SPACE if token == ' ' else token, -1) for token in tokens], np.int32)
    _check_coverage(model, int((found >= 0).sum()), len(tokens))
    if ' ' in tokens and found[list(tokens).index(' ')] < 0:
        log.warning('%s does not know %s; it scores as an unknown symbol', model.path, SPACE)
    found[found < 0] = model.unknown_id
    found.flags.writeable = False
    return found


def _check_coverage(model: NgramModel, num_known: int, num_all: int) -> None:
    if not num_known:
        raise DataError(
            f'{model.path}: none of its words (the first: {_first_words(model)}) can be spelled with the vocabulary; '
            'give a model of the same language and alphabet'
        )
    if num_known < 0.5 * num_all:
        log.warning('%s: only %d of %d words can be spelled with the vocabulary', model.path, num_known, num_all)


def _first_words(model: NgramModel) -> str:
    return ', '.join(repr(word) for word in [word for word in model.words if word not in SPECIAL][:3]) or 'none'
