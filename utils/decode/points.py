"""Points of a tuning: weights with the errors of every utterance; their order, intervals and standard errors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from utils.lm.scorer import Weights
from utils.metrics import score_utterance
from utils.significance import Interval, rate_interval, standard_error, sums_of_groups

LEAST_SPEAKERS = 5  # with fewer, utterances are resampled
ERRORS, LENGTH, CHARACTER_ERRORS, CHARACTERS, IS_EMPTY = range(5)


class Point(NamedTuple):
    """A pair of weights and what came out with them.

    Attributes:
      weights: the weights.
      counts: int `[utterances, 5]`: errors and length of the leading rate, those in characters, 1 for an empty text.
    """

    weights: Weights
    counts: np.ndarray

    @property
    def rate(self) -> float:
        """Leading error rate."""
        return rate(self.counts, ERRORS)

    @property
    def character_rate(self) -> float:
        return rate(self.counts, CHARACTER_ERRORS)

    @property
    def num_empty(self) -> int:
        return int(self.counts[:, IS_EMPTY].sum())

    def take(self, rows: np.ndarray) -> 'Point':
        """The same on some of the utterances."""
        return self._replace(counts=self.counts[rows])


def rate(counts: np.ndarray, column: int) -> float:
    """Rate of `Point.counts` whose errors stand in a column: `ERRORS` or `CHARACTER_ERRORS`."""
    return float(counts[:, column].sum() / max(1, counts[:, column + 1].sum()))


def rank(point: Point) -> tuple[float, float, float, float]:
    """Orders points, the best first: by the errors that lead, the character errors, and then the smaller weights."""
    errors, characters = point.counts[:, [ERRORS, CHARACTER_ERRORS]].sum(0).tolist()
    return errors, characters, point.weights.lm_weight, abs(point.weights.word_bonus)


class TextCounter:
    """Counts the errors of texts against their references, each different text once.

    Args:
      references: transcript of each utterance.
      spell: function from ids to a text, `Vocabulary.decode`.
      has_words: whether texts have word boundaries, so that words lead.
    """

    def __init__(self, references: Sequence[str], spell: Callable[[Sequence[int]], str], has_words: bool):
        self._references, self._spell, self.has_words = references, spell, has_words
        self._known: dict[tuple[int, tuple[int, ...]], tuple[int, ...]] = {}

    def __call__(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """`Point.counts` of a text for each utterance, given as ids."""
        return np.array([self._count(row, tuple(ids)) for row, ids in enumerate(texts)], np.int64)

    def _count(self, row: int, ids: tuple[int, ...]) -> tuple[int, ...]:
        if (row, ids) not in self._known:
            text = self._spell(ids)
            scores = score_utterance(self._references[row], text, self.has_words)
            both = ((each.errors, each.reference_length) for each in (scores.leading, scores.characters))
            self._known[row, ids] = (*(number for pair in both for number in pair), int(not text))
        return self._known[row, ids]


def within_one_error(point: Point, best: Point, groups: np.ndarray) -> bool:
    """Whether a point's rate exceeds the best one's by one standard error of their difference at most.

    Args:
      point: the point.
      best: the best point, of the same utterances.
      groups: group of each utterance, such as its speaker; groups are independent.
    """
    both = np.stack([point.counts[:, ERRORS] - best.counts[:, ERRORS], best.counts[:, LENGTH]], 1)
    differences, lengths = sums_of_groups(both, groups).T
    excess = differences.sum() / max(1, lengths.sum())
    return bool(excess <= standard_error(differences, lengths))


def interval(counts: np.ndarray, groups: np.ndarray) -> Interval | None:
    """95 % interval of the leading rate of `Point.counts`, by the bootstrap over groups; see `rate_interval`."""
    return rate_interval(*sums_of_groups(counts[:, [ERRORS, LENGTH]], groups).T)


def group_by_speaker(speakers: Sequence[str]) -> np.ndarray:
    """Group of each utterance, int: its speaker, or itself where speakers are unknown or fewer than five."""
    names, groups = np.unique(np.asarray(speakers, str), return_inverse=True)
    return groups if len(names) >= LEAST_SPEAKERS and all(names) else np.arange(len(speakers))


def split_groups(groups: np.ndarray, lengths: np.ndarray, number: int) -> list[np.ndarray]:
    """Rows of each fold, whole groups, with about the same length: the longest group first, to the shortest fold."""
    sums = sums_of_groups(lengths[:, np.newaxis], groups)[:, 0]
    folds: list[list[int]] = [[] for _ in range(number)]
    totals = np.zeros(number)
    for group in np.argsort(-sums, kind='stable').tolist():
        shortest = int(totals.argmin())
        folds[shortest].append(group)
        totals[shortest] += sums[group]
    _, places = np.unique(groups, return_inverse=True)
    return [np.flatnonzero(np.isin(places, fold)) for fold in folds]


def format_points(points: Sequence[Point], chosen: Point, groups: np.ndarray, has_words: bool) -> str:
    """A line for each pair of weights, in their order, the best and the chosen one marked."""
    best = min(points, key=rank)
    rate_name = 'WER %' if has_words else 'CER %'
    heading = f'{"lm_weight":>9}  {"word_bonus":>10}{rate_name:>9}{"95 %":>14}'
    lines = [heading + ('    CER %' if has_words else '') + '  empty']
    for point in sorted(points, key=lambda each: each.weights):
        line = f'{point.weights.lm_weight:9.4g}  {point.weights.word_bonus:10.4g}{100 * point.rate:9.2f}'
        line += f'{format_interval(interval(point.counts, groups)):>14}'
        line += f'{100 * point.character_rate:9.2f}' if has_words else ''
        marks = '  best' * (point is best) + '  chosen' * (point is chosen is not best)
        lines.append(f'{line}{point.num_empty:7}{marks}')
    return '\n'.join(lines)


def format_interval(found: Interval | None) -> str:
    """An interval in percent; empty where there is none."""
    return f'{100 * found[0]:.2f}-{100 * found[1]:.2f}' if found else ''
