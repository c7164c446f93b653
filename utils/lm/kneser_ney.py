"""Interpolated modified Kneser-Ney estimation of n-gram models (Chen & Goodman 1998, as in KenLM's lmplz).

    p(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) p(w | h without its first word)

c is the count for the highest order and for n-grams that begin with `<s>`, else the number of different
words before `h w`. D takes off D1, D2 or D3 of counts 1, 2 and more; gamma(h) is what was taken off in h.
The unigrams are interpolated with the uniform distribution, of which `<unk>` gets its share.

All counts are held in memory: about 60 bytes a running word and order.
"""

import logging
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import DataError
from utils.lm.arpa import END, NO_PROBABILITY, START, UNKNOWN, Rows

log = logging.getLogger(__name__)

UNKNOWN_ID, START_ID, END_ID = range(3)
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # lmplz's --discount_fallback, for text that is small or very regular


@dataclass(frozen=True)
class Corpus:
    """Text as word ids: `<s> w1 w2 ... </s>` for each sentence, one after another."""

    words: list[str]  # in the order of their ids; the first three are `<unk>`, `<s>`, `</s>`
    ids: np.ndarray  # int64 [num_ids]
    num_sentences: int


@dataclass(frozen=True)
class Counts:
    """The different n-grams of one order, sorted by parent and word: arrays `[num]`, int64 but the last, bool."""

    parents: np.ndarray  # row of the n-gram without its last word in the order below
    suffixes: np.ndarray  # row of the n-gram without its first word there
    words: np.ndarray  # its last word
    occurrences: np.ndarray  # its number of occurrences in the text
    begins_sentence: np.ndarray  # whether its first word is `<s>`


def read_corpus(sentences: Iterable[Sequence[str]]) -> Corpus:
    """Numbers the words of sentences; sentences without words are left out.

    Raises:
      DataError: a sentence holds `<s>` or `</s>`, or there is none.
    """
    word_ids = {UNKNOWN: UNKNOWN_ID, START: START_ID, END: END_ID}
    ids = array('q')
    num_sentences = 0
    for sentence in filter(None, sentences):
        num_sentences += 1
        ids.append(START_ID)
        for word in sentence:
            word_id = word_ids.setdefault(word, len(word_ids))
            if word_id in (START_ID, END_ID):
                raise DataError(f'sentence {num_sentences} of the text holds {word}; remove it (the model adds it)')
            ids.append(word_id)
        ids.append(END_ID)
    if not num_sentences:
        raise DataError('the text holds no words; give text files or indexes with transcripts')
    return Corpus(list(word_ids), np.array(ids, np.int64), num_sentences)


def count_ngrams(corpus: Corpus, order: int) -> list[Counts]:
    """Counts the n-grams of orders 1 to ``order`` within sentences; fewer orders where no sentence is that long."""
    ids, num_words = corpus.ids, len(corpus.words)
    ends = np.flatnonzero(ids == END_ID)
    last = np.repeat(ends, np.diff(ends, prepend=-1))  # of each position, where its sentence ends
    unigrams = np.arange(num_words)
    occurrences = np.bincount(ids, minlength=num_words)
    levels = [Counts(0 * unigrams, 0 * unigrams, unigrams, occurrences, unigrams == START_ID)]
    rows_at = ids  # the row of the n-gram that begins at a position
    positions = np.arange(len(ids))
    for length in range(2, order + 1):
        positions = positions[positions + length - 1 <= last[positions]]
        if not len(positions):
            break
        keys = rows_at[positions] * num_words + ids[positions + length - 1]
        keys, firsts, rows, occurrences = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        parents, suffixes = keys // num_words, rows_at[positions[firsts] + 1]
        begins_sentence = levels[-1].begins_sentence[parents]
        levels.append(Counts(parents, suffixes, keys % num_words, occurrences, begins_sentence))
        rows_at = np.full(len(ids), -1, np.int64)
        rows_at[positions] = rows
    return levels


def adjusted_counts(levels: Sequence[Counts]) -> list[np.ndarray]:
    """Kneser-Ney counts: for orders below the highest, the number of different words before an n-gram."""
    adjusted = []
    for level, longer in zip(levels, levels[1:], strict=False):
        num_before = np.bincount(longer.suffixes, minlength=len(level.words))
        adjusted.append(np.where(level.begins_sentence, level.occurrences, num_before))
    adjusted.append(levels[-1].occurrences.copy())
    adjusted[0][START_ID] = 0  # it is never predicted
    return adjusted


def discounts(counts: np.ndarray) -> np.ndarray | None:
    """D0 (0), D1, D2 and D3 from the numbers of n-grams counted once to four times; None where these give none."""
    n1, n2, n3, n4 = (float((counts == times).sum()) for times in range(1, 5))
    if not (n1 and n2 and n3 and n4):
        return None
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return found if (found >= 0).all() else None


def estimate(corpus: Corpus, order: int, prune: Sequence[int] = ()) -> list[Rows]:
    """Estimates a model.

    Args:
      corpus: training text.
      order: length of the longest n-grams, 1 to 10.
      prune: for each order, the number of occurrences up to which its n-grams are left out; the last one holds for
        the orders above, too. Unigrams are never left out.

    Returns:
      The n-grams of each order with log10 probabilities and backoff weights, as `write_arpa` takes them.
    """
    levels = count_ngrams(corpus, order)
    if len(levels) < order:
        log.warning('no sentence is long enough for order %d; the model gets order %d', order, len(levels))
    thresholds = [0, *(list(prune)[1:] or [0])]
    thresholds += [thresholds[-1]] * (len(levels) - len(thresholds))
    rows: list[Rows] = []
    without_estimate: list[str] = []
    probabilities, is_kept, ngrams = np.array([1.0 / (len(corpus.words) - 1)]), np.ones(1, bool), np.empty((1, 0), int)
    for number, (level, counts) in enumerate(zip(levels, adjusted_counts(levels), strict=True), 1):
        taken = discounts(counts)
        if taken is None:
            without_estimate.append(str(number))
            taken = np.array([0.0, *FALLBACK_DISCOUNTS])
        will_stay = (level.occurrences > thresholds[number - 1]) | (number == 1)
        probabilities, gammas = _interpolate(level, counts, taken, will_stay, probabilities)
        if number > 1:
            rows[-1] = rows[-1]._replace(backoffs=_log10(gammas[is_kept], 0.0))
        ngrams = np.column_stack([ngrams[level.parents], level.words])
        is_kept = will_stay
        rows.append(Rows(ngrams[is_kept], _log10(probabilities[is_kept], NO_PROBABILITY), np.zeros(is_kept.sum())))
    rows[0].log_probs[START_ID] = NO_PROBABILITY
    if without_estimate:
        log.warning('the text is too small or too regular to estimate the discounts of order %s; taking %s',
                    ', '.join(without_estimate), FALLBACK_DISCOUNTS)  # fmt: skip
    return [level_rows for level_rows in rows if len(level_rows.log_probs)]


def _interpolate(
    level: Counts, counts: np.ndarray, taken: np.ndarray, is_kept: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of an order from those of the order below, and the gammas of its contexts.

    The counts of n-grams that are left out go to gamma whole. A context without n-grams has gamma 1.
    """
    num_contexts = len(lower)
    discount = np.where(is_kept, taken[np.minimum(counts, 3)], counts)
    totals = np.bincount(level.parents, counts, num_contexts)
    freed = np.bincount(level.parents, discount, num_contexts)
    gammas = np.divide(freed, totals, out=np.ones(num_contexts), where=totals > 0)
    own = np.divide(counts - discount, totals[level.parents], out=np.zeros(len(counts)), where=counts > 0)
    return own + gammas[level.parents] * lower[level.suffixes], gammas


def _log10(values: np.ndarray, of_zero: float) -> np.ndarray:
    return np.log10(values, out=np.full(len(values), of_zero), where=values > 0)
