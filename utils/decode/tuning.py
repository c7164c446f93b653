"""The search for the weights of a language model: a coarse grid, then ever finer steps around the best."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from utils.lm.scorer import Scorer, Weights, score_symbols
from utils.metrics import Scores

LM_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = {'word': (-1.0, 0.0, 1.0, 2.0, 4.0), 'char': (-0.5, 0.0, 0.5, 1.0, 2.0)}
FIRST_STEPS = {'word': Weights(0.25, 0.5), 'char': Weights(0.125, 0.25)}
NUM_HALVINGS = 2
MAX_LM_WEIGHT = 10.0


class Point(NamedTuple):
    """What a pair of weights scored.

    Attributes:
      weights: lm_weight and word_bonus.
      scores: over the dev set.
      num_empty: its texts that came out empty.
    """

    weights: Weights
    scores: Scores
    num_empty: int


class Candidate(NamedTuple):
    """One of the best texts of an utterance without language model.

    Attributes:
      ids: its symbols.
      score: what it was ranked by.
      share: how much of the language model's part is added to that.
    """

    ids: tuple[int, ...]
    score: float
    share: float = 1.0


def reranking(nbest: Sequence[Sequence[Candidate]], fusion: Scorer) -> Callable[[Weights], list[tuple[int, ...]]]:
    """The best text of each utterance as a function of the language model's weights, among n best without it."""
    said = [[score_symbols(fusion, np.array(each.ids, np.int64)) for each in candidates] for candidates in nbest]

    def best(weights: Weights) -> list[tuple[int, ...]]:
        texts = []
        for candidates, parts in zip(nbest, said, strict=True):
            scores = [
                each.score + each.share * (weights.lm_weight * log_prob + weights.word_bonus * num_words)
                if log_prob > -np.inf
                else log_prob
                for each, (log_prob, num_words) in zip(candidates, parts, strict=True)
            ]
            texts.append(candidates[int(np.argmax(scores))].ids)
        return texts

    return best


def rank(point: Point) -> tuple[float, float, float, float]:
    """Orders points, the best first: by the errors that lead, the character errors, and then the smaller weights."""
    scores, weights = point.scores, point.weights
    return scores.leading.errors, scores.characters.errors, weights.lm_weight, abs(weights.word_bonus)


def search(evaluate: Callable[[Weights], Point], unit: str) -> Iterator[Point]:
    """Evaluates a coarse grid, then walks downhill from its best.

    Args:
      evaluate: decodes the dev set with a pair of weights.
      unit: of the language model, 'word' or 'char'.

    Yields:
      Each point once it is known.
    """
    points = []
    for pair in itertools.product(LM_WEIGHTS, WORD_BONUSES[unit]):
        points.append(evaluate(Weights(*pair)))
        yield points[-1]
    yield from walk(evaluate, points, FIRST_STEPS[unit], NUM_HALVINGS)


def walk(
    evaluate: Callable[[Weights], Point], points: Sequence[Point], step: Weights, num_halvings: int
) -> Iterator[Point]:
    """Goes downhill from the best of some points, by a step that is halved so often where it leads no further.

    `evaluate` and what is yielded are those of `search`.
    """
    known = {point.weights: point for point in points}
    while num_halvings >= 0:
        best = min(known.values(), key=rank)
        for weights in _neighbours(best.weights, step):
            if weights not in known and 0 < weights.lm_weight <= MAX_LM_WEIGHT:
                known[weights] = evaluate(weights)
                yield known[weights]
        if min(known.values(), key=rank) is best:
            step, num_halvings = Weights(step.lm_weight / 2, step.word_bonus / 2), num_halvings - 1


def _neighbours(centre: Weights, step: Weights) -> list[Weights]:
    moves = itertools.product((-1, 0, 1), repeat=2)
    return [
        Weights(centre.lm_weight + down * step.lm_weight, centre.word_bonus + across * step.word_bonus)
        for down, across in moves
    ]


def format_points(points: Sequence[Point]) -> str:
    """A line for each pair of weights, in their order, the best marked."""
    best = min(points, key=rank)
    has_words = best.scores.has_word_boundaries
    lines = [f'{"lm_weight":>9}  {"word_bonus":>10}' + ('    WER %' if has_words else '') + '    CER %  empty']
    for point in sorted(points, key=lambda each: each.weights):
        rates = [point.scores.words.rate] * has_words + [point.scores.characters.rate]
        line = f'{point.weights.lm_weight:9.4g}  {point.weights.word_bonus:10.4g}'
        line += ''.join(f'{100 * rate:9.2f}' for rate in rates) + f'{point.num_empty:7}'
        lines.append(line + ('  best' if point is best else ''))
    return '\n'.join(lines)
