"""Tuning of the weights of a language model on a dev set: n-best lists are ranked, then the best weights refined."""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from utils.decode.options import DecodingOptions
from utils.lm.scorer import Scorer, Weights, score_symbols, with_weights
from utils.metrics import Scores

LM_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = {'word': (-1.0, 0.0, 1.0, 2.0, 4.0), 'char': (-0.5, 0.0, 0.5, 1.0, 2.0)}
FIRST_STEPS = {'word': Weights(0.25, 0.5), 'char': Weights(0.125, 0.25)}
NUM_HALVINGS = 2
MAX_LM_WEIGHT = 10.0
# las: its decoder has learned much of what a language model adds, its CTC head has not; where scores are not divided by
# the length, the bonus replaces that
CTC_SHARES = (0.3, 0.5, 0.7)
LENGTH_NORMS = (0.0, 1.0)
CTC_STEPS = {'word': Weights(0.5, 1.0), 'char': Weights(0.25, 0.5)}
LAS_STEPS = {'word': Weights(0.125, 0.25), 'char': Weights(0.0625, 0.125)}


class Point(NamedTuple):
    """Scores of a pair of weights.

    Attributes:
      weights: lm_weight and word_bonus.
      scores: error counts of the dev set.
      num_empty: number of its texts that came out empty.
    """

    weights: Weights
    scores: Scores
    num_empty: int


class Candidate(NamedTuple):
    """One of the n best texts of an utterance without language model.

    Attributes:
      ids: symbols.
      score: score without language model.
      share: factor of the language model's score, which is added.
    """

    ids: tuple[int, ...]
    score: float
    share: float = 1.0


def reranking(nbest: Sequence[Sequence[Candidate]], scorer: Scorer) -> Callable[[Weights], list[tuple[int, ...]]]:
    """Returns a function of the weights: the best text of each utterance in the n-best lists without language model."""
    scored = [[score_symbols(scorer, np.array(each.ids, np.int64)) for each in candidates] for candidates in nbest]

    def best(weights: Weights) -> list[tuple[int, ...]]:
        texts = []
        for candidates, parts in zip(nbest, scored, strict=True):
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
      evaluate: scores the dev set with a pair of weights.
      unit: unit of the language model, 'word' or 'char'.

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
    """Goes downhill from the best of some points, by a step that is halved ``num_halvings`` times at a minimum.

    Arguments and results are otherwise those of `search`.
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


@dataclass(frozen=True)
class Tuning:
    """Result of `Tuner.tune`.

    Attributes:
      points: scores of each pair of weights that the dev set was decoded with.
      options: options of the search with the best point's weights.
      greedy: scores of greedy decoding.
      beam: scores of the beam without language model, with the best CTC share.
    """

    points: list[Point]
    options: DecodingOptions
    greedy: Scores
    beam: Scores


@dataclass(frozen=True)
class Tuner:
    """Finds the weights of a language model: ranks n-best lists, then decodes around the best.

    The n-best lists of the beam without language model are ranked with a grid of weights. For las, this is done for
    several shares of the CTC head and length norms, since each of its beam searches runs the model.

    Attributes:
      options: options of the search, with the language model.
      fixed: names of the flags of las that are not tuned.
      scorer: the language model.
      decode: decodes the dev set: (options, scorer or None) -> hypotheses with alternatives.
      score: scores texts, given as ids, of the dev set: (weights, texts) -> `Point`.
      progress: wraps an iterator that takes long: (iterator, description, unit) -> iterator.
    """

    options: DecodingOptions
    fixed: Collection[str]
    scorer: Scorer
    decode: Callable
    score: Callable[[Weights, Sequence[Sequence[int]]], Point]
    progress: Callable

    def tune(self) -> Tuning:
        """Ranks, then decodes."""
        is_las, unit = self.options.family == 'attention', self.scorer.unit
        greedy = self._point(Weights(), self.decode(replace(self.options, lm=None, beam_width=0), None))
        shares: Sequence[float] = [self.options.ctc_decode_weight]
        if self.options.ctc_decode_weight and 'ctc_decode_weight' not in self.fixed:
            shares = CTC_SHARES
        ranked = [self._rank(share) for share in self.progress(shares, 'ranking', ' shares')]
        start, options = min(itertools.chain(*(found for _, found in ranked)), key=lambda each: rank(each[0]))

        def decoded(weights: Weights) -> Point:
            return self._point(weights, self.decode(options, with_weights(self.scorer, weights)))

        points = [decoded(start.weights)]
        step, num_halvings = (LAS_STEPS[unit], 0) if is_las else (CTC_STEPS[unit], NUM_HALVINGS + 1)
        points += self.progress(walk(decoded, points, step, num_halvings), 'decoding', ' weights')
        best = min(points, key=rank).weights
        options = replace(options, lm_weight=best.lm_weight, word_bonus=best.word_bonus)
        return Tuning(points, options, greedy.scores, min((beam for beam, _ in ranked), key=rank).scores)

    def _rank(self, share: float) -> tuple[Point, list[tuple[Point, DecodingOptions]]]:
        """The beam without language model, and for each length norm the best point of the ranking."""
        options = replace(self.options, ctc_decode_weight=share)
        hypotheses = self.decode(replace(options, lm=None, num_best=options.beam_width), None)
        power, found = options.length_norm if options.family == 'attention' else 0.0, []
        # with coverage, which is not divided, a text's score is not known for another norm
        is_fixed = options.family == 'ctc' or {'length_norm', 'coverage_weight'}.intersection(self.fixed)
        for norm in (power,) if is_fixed else LENGTH_NORMS:
            best_of = reranking(candidates_of(hypotheses, power, norm), self.scorer)
            points = search(lambda weights, best_of=best_of: self.score(weights, best_of(weights)), self.scorer.unit)
            found.append((min(points, key=rank), replace(options, length_norm=norm)))
        return self._point(Weights(), hypotheses), found

    def _point(self, weights: Weights, hypotheses: Sequence) -> Point:
        return self.score(weights, [hypothesis.ids for hypothesis in hypotheses])


def candidates_of(hypotheses: Sequence, power: float, norm: float) -> list[list[Candidate]]:
    """The n-best lists, whose scores were divided by |y|^power, as if they had been divided by |y|^norm."""

    def candidate(hypothesis):
        length = len(hypothesis.ids) + 1
        return Candidate(hypothesis.ids, hypothesis.score * length ** (power - norm), length**-norm)

    return [[candidate(each) for each in (best, *best.alternatives)] for best in hypotheses]
