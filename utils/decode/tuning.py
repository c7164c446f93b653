"""The search for the weights of a language model: a coarse grid, then ever finer steps around the best."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from utils.data.transcripts import references
from utils.lm.scorer import CHAR, Scorer, Weights, score_symbols
from utils.metrics import Scores, score

LM_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = {'word': (-1.0, 0.0, 1.0, 2.0, 4.0), 'char': (-0.5, 0.0, 0.5, 1.0, 2.0)}
FIRST_STEPS = {'word': Weights(0.25, 0.5), 'char': Weights(0.125, 0.25)}
NUM_HALVINGS = 2
MAX_LM_WEIGHT = 10.0
# a speller knows much of what a language model says, its CTC head does not; where scores are not divided by the length,
# the bonus speaks for it
CTC_SHARES = (0.3, 0.5, 0.7)
LENGTH_NORMS = (0.0, 1.0)
STEPS = {'word': Weights(0.125, 0.25), 'char': Weights(0.0625, 0.125)}


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


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
      points: what each pair of weights scored that was decoded with.
      flags: of the speller's search, by name.
      greedy: what greedy spelling scores.
      beam: what the beam scores without language model, with the best of the shares.
    """

    points: list[Point]
    flags: dict[str, float]
    greedy: Scores
    beam: Scores


@dataclass
class SpellerTuner:
    """Tunes on some indexes.

    Attributes:
      run: a `utils.run_directory.Run`.
      make_recognizer: from a decoder to a recognizer of the run.
      indexes: the dev sets.
      batch_size: utterances at once.
      make_decoder: from a `options.Decoding`, or None for greedy, to the recogniser's decoder.
      given: flags of the search that are not to be tuned.
      fusion: the language model.
      progress: wraps an iterator of things that take long.
    """

    run: object
    make_recognizer: Callable
    indexes: Sequence
    batch_size: int
    make_decoder: Callable
    given: Mapping[str, float]
    fusion: Scorer
    progress: Callable

    def __post_init__(self):
        self._unit = 'char' if self.fusion.mode == CHAR else 'word'
        self._transcripts = [text for index in self.indexes for text in references(index, self.run.vocabulary)]

    def tune(self, decoding) -> Tuning:
        """Ranks, then decodes; ``decoding`` (a `options.Decoding`) says with which beam and language model."""
        greedy = self._point(Weights(), self._evaluate(None))
        has_ctc_head = bool(self.run.config.model.ctc_weight)
        shares = CTC_SHARES if has_ctc_head and 'ctc_decode_weight' not in self.given else (None,)
        ranked = [self._rank(decoding, share) for share in self.progress(shares, 'ranking', ' shares')]
        best, flags = min(itertools.chain(*(found for _, found in ranked)), key=lambda each: rank(each[0]))
        decoding = replace(decoding, speller=flags)

        def decoded(weights):
            hypotheses = self._evaluate(replace(decoding, lm_weight=weights.lm_weight, word_bonus=weights.word_bonus))
            return self._point(weights, hypotheses)

        start = decoded(best.weights)
        around = walk(decoded, [start], STEPS[self._unit], num_halvings=0)
        points = [start, *self.progress(around, 'decoding', ' weights')]
        return Tuning(points, flags, greedy.scores, min((beam for beam, _ in ranked), key=rank).scores)

    def _rank(self, decoding, share: float | None) -> tuple[Point, list[tuple[Point, dict[str, float]]]]:
        """The beam without language model, and for each length norm the best point of the ranking and the flags."""
        flags = {} if share is None else {'ctc_decode_weight': share}
        hypotheses = self._evaluate(replace(decoding, lm=None, num_best=decoding.beam_width, speller=flags))
        power, found = self._decoder.options.length_norm, []
        # with coverage, which is not divided, a text's score is not known for another norm
        for norm in (power,) if self.given.keys() & {'length_norm', 'coverage_weight'} else LENGTH_NORMS:
            best_of = reranking(candidates_of(hypotheses, power, norm), self.fusion)
            points = search(lambda weights, best_of=best_of: self._scored(weights, best_of(weights)), self._unit)
            found.append((min(points, key=rank), {**flags, 'length_norm': norm, **self.given}))
        return self._point(Weights(), hypotheses), found

    def _evaluate(self, decoding) -> list:
        self._decoder = self.make_decoder(decoding)
        recognizer = self.make_recognizer(self._decoder)
        evaluations = [recognizer.evaluate(recognizer.prepare(index), self.batch_size) for index in self.indexes]
        return [hypothesis for evaluation in evaluations for hypothesis in evaluation.hypotheses]

    def _point(self, weights: Weights, hypotheses: Sequence) -> Point:
        return self._scored(weights, [hypothesis.ids for hypothesis in hypotheses])

    def _scored(self, weights: Weights, texts: Sequence[Sequence[int]]) -> Point:
        vocabulary = self.run.vocabulary
        decoded = [vocabulary.decode(ids) for ids in texts]
        return Point(
            weights, score(self._transcripts, decoded, vocabulary.has_words), sum(not text for text in decoded)
        )


def candidates_of(hypotheses: Sequence, power: float, norm: float) -> list[list[Candidate]]:
    """The best texts of each utterance, whose scores were divided by |y|^power, as if by |y|^norm."""

    def candidate(hypothesis):
        length = len(hypothesis.ids) + 1
        return Candidate(hypothesis.ids, hypothesis.score * length ** (power - norm), length**-norm)

    return [[candidate(each) for each in (best, *best.alternatives)] for best in hypotheses]
