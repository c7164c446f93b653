"""Tuning of the weights of a language model on a dev set: n-best lists are ranked, then the best weights refined.

Of the settings that were tried, a rule takes one: `best`, that with the fewest errors; or `one_se`, the plainest whose
error rate is within one standard error of the best one's (Breiman et al. 1984, section 3.4.3). Cross-validation over
speakers gives an estimate that the tuning has not seen.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.decode.options import BEST, ONE_SE, DecodingOptions
from utils.decode.points import LENGTH, Point, TextCounter, rank, split_groups, within_one_error
from utils.lm.scorer import Scorer, Weights, score_symbols, with_weights

LM_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = {'word': (-1.0, 0.0, 1.0, 2.0, 4.0), 'char': (-0.5, 0.0, 0.5, 1.0, 2.0)}
FIRST_STEPS = {'word': Weights(0.25, 0.5), 'char': Weights(0.125, 0.25)}
NUM_HALVINGS = 2
MAX_LM_WEIGHT = 10.0
# las: a language model adds less to the decoder, which has an internal one, than to the CTC head; where scores are not
# normalised by length, the bonus makes up for it
CTC_SHARES = (0.3, 0.5, 0.7)
LENGTH_NORMS = (0.0, 1.0)
ILM_WEIGHTS = (0.0, 0.1, 0.2)
CTC_STEPS = {'word': Weights(0.5, 1.0), 'char': Weights(0.25, 0.5)}
LAS_STEPS = {'word': Weights(0.125, 0.25), 'char': Weights(0.0625, 0.125)}
# the plain values of `one_se`, and the shares of the way from them to the best weights that it tries
PLAIN = {'ctc': Weights(0.5, 1.0), 'attention': Weights(0.25, 0.0)}
SHARES_OF_WAY = (0.0, 0.25, 0.5, 0.75)

def reranking(
    hypotheses: Sequence[Any], scorer: Scorer, power: float = 0.0, norm: float = 0.0
) -> Callable[[Weights], list[tuple[int, ...]]]:
    """Ranks n-best lists with a language model.

    Args:
      hypotheses: the best text of each utterance with its alternatives, found without language model.
      scorer: the language model.
      power: power of the number of symbols that their scores were divided by.
      norm: power of the number of symbols to divide by instead, the language model's score too.

    Returns:
      Function of the weights: the best text of each utterance.
    """
    lists = []
    for best in hypotheses:
        texts = [each.ids for each in (best, *best.alternatives)]
        lengths = [len(ids) + 1 for ids in texts]
        pairs = zip((best, *best.alternatives), lengths, strict=True)
        totals = np.array([each.score * length ** (power - norm) for each, length in pairs])
        log_probs, num_words = np.transpose([score_symbols(scorer, np.array(ids, np.int64)) for ids in texts])
        lists.append((texts, totals, np.array([length**-norm for length in lengths]), log_probs, num_words))

    def best_texts(weights: Weights) -> list[tuple[int, ...]]:
        return [
            texts[int(np.argmax(totals + shares * (weights.lm_weight * log_probs + weights.word_bonus * num_words)))]
            for texts, totals, shares, log_probs, num_words in lists
        ]

    return best_texts


def grid(unit: str) -> Iterator[Weights]:
    """A coarse grid of weights for a language model of a unit, 'word' or 'char'."""
    return itertools.starmap(Weights, itertools.product(LM_WEIGHTS, WORD_BONUSES[unit]))


def search(
    evaluate: Callable[[Weights], Point], starts: Iterable[Weights], step: Weights, num_halvings: int = NUM_HALVINGS
) -> Iterator[Point]:
    """Evaluates pairs of weights, then walks downhill from the best, by a step that is halved at each minimum.

    Args:
      evaluate: scores the dev set with a pair of weights.
      starts: pairs to begin with.
      step: distance of the neighbours that are tried first.
      num_halvings: how often it is halved.

    Yields:
      Each point once it is known.
    """
    known: dict[Weights, Point] = {}
    best, trials = None, starts
    while num_halvings >= 0:
        for weights in trials:
            if weights not in known and 0 < weights.lm_weight <= MAX_LM_WEIGHT:
                known[weights] = evaluate(weights)
                yield known[weights]
        previous, best = best, min(known.values(), key=rank)
        if best is previous:
            step, num_halvings = Weights(step.lm_weight / 2, step.word_bonus / 2), num_halvings - 1
        centre, moves = best.weights, itertools.product((-1, 0, 1), repeat=2)
        trials = [
            Weights(centre.lm_weight + down * step.lm_weight, centre.word_bonus + across * step.word_bonus)
            for down, across in moves
        ]


@dataclass(frozen=True)
class Tuning:
    """Result of `Tuner.tune`.

    Attributes:
      points: counts with each pair of weights that the dev set was decoded with.
      best: the point with the fewest errors.
      chosen: the point that the rule takes.
      options: options of the search with the chosen weights.
      greedy: `Point.counts` of greedy decoding.
      beam: those of the beam without language model, with the CTC share and the ILM weight of `options`.
    """

    points: list[Point]
    best: Point
    chosen: Point
    options: DecodingOptions
    greedy: np.ndarray
    beam: np.ndarray


class Tuner:
    """Finds the weights of a language model: ranks n-best lists, then decodes around the best.

    The n-best lists of the beam without language model are ranked with a grid of weights. For las, this is done for
    several shares of the CTC head and length norms, since each of its beam searches runs the model. Every decoding is
    of the whole dev set and done once, also where parts of it are tuned.

    Args:
      options: options of the search, with the language model.
      fixed: names of the flags of las that are not tuned.
      scorer: the language model.
      decode: decodes the dev set: (options, scorer or None) -> hypotheses with alternatives.
      count: counter of the errors of texts of the dev set.
      groups: group of each utterance, from `group_by_speaker`.
      rule: `BEST` or `ONE_SE`.
      tunes_ilm: tune the ILM weight of las, too.

    Attributes:
      decode, count, groups, rule: as above.
      unit: 'word' or 'char', what the language model predicts.
    """

    def __init__(
        self, options: DecodingOptions, fixed: Collection[str], scorer: Scorer, decode: Callable[..., Sequence[Any]],
        count: TextCounter, groups: np.ndarray, rule: str = BEST,
        tunes_ilm: bool = False,
    ):  # fmt: skip
        self._options, self._scorer, self.decode, self.count = options, scorer, decode, count
        self.groups, self.rule = groups, rule
        self._is_las, self.unit = options.family == 'attention', scorer.unit
        tunes_share = options.ctc_decode_weight and 'ctc_decode_weight' not in fixed
        # with coverage, which is not divided, a text's score for another norm does not follow from this one
        tunes_norm = self._is_las and not {'length_norm', 'coverage_weight'}.intersection(fixed)
        self._searches = [
            replace(options, ctc_decode_weight=share, ilm_weight=ilm)
            for share in (CTC_SHARES if tunes_share else [options.ctc_decode_weight])
            for ilm in (ILM_WEIGHTS if tunes_ilm else [options.ilm_weight])
        ]
        self._norms = LENGTH_NORMS if tunes_norm else (options.length_norm,)
        self._known: dict[Any, Any] = {}

    def _once(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def _nbest(self, options: DecodingOptions) -> Sequence[Any]:
        """Hypotheses without language model."""
        plain = replace(options, lm=None, num_best=self._options.beam_width, length_norm=self._options.length_norm)
        return self._once(plain, lambda: self.decode(plain, None))

    def _ranked(self, options: DecodingOptions, weights: Weights) -> Point:
        """The point of ranked n-best lists."""
        power, norm = (self._options.length_norm, options.length_norm) if self._is_las else (0.0, 0.0)
        best_texts = self._once(
            ('texts', options), lambda: reranking(self._nbest(options), self._scorer, power, norm)
        )
        return self._once(('ranked', options, weights), lambda: Point(weights, self.count(best_texts(weights))))

    def decoded(self, options: DecodingOptions, weights: Weights) -> Point:
        """The point of a decoding with the language model."""
        key = replace(options, **weights._asdict())

        def compute() -> Point:
            found = self.decode(key, with_weights(self._scorer, weights))
            return Point(weights, self.count([each.ids for each in found]))

        return self._once(key, compute)

    def _plainness(self, options: DecodingOptions) -> tuple[float, ...]:
        """Orders options, the plainest first: those whose values are the given ones."""
        names = 'ilm_weight', 'ctc_decode_weight', 'length_norm'
        moves = [abs(getattr(options, name) - getattr(self._options, name)) for name in names]
        return sum(move > 0 for move in moves), *moves

    def _start(self, rows: np.ndarray) -> tuple[Point, DecodingOptions]:
        """Best ranking of the n-best lists, and the options of the search that it belongs to."""
        ranked = []
        for options in tqdm(self._searches, desc='ranking', unit=' searches', disable=None):
            for norm in self._norms:
                of_norm = replace(options, length_norm=norm)
                evaluate = partial(self._ranked_rows, of_norm, rows)
                points = search(evaluate, grid(self.unit), FIRST_STEPS[self.unit])
                ranked.append((min(points, key=rank), of_norm))
        start = min(ranked, key=lambda each: rank(each[0]))
        if self.rule == ONE_SE:
            groups, best = self.groups[rows], start[0]
            near = (each for each in ranked if within_one_error(each[0], best, groups))
            start = min(near, key=lambda each: (self._plainness(each[1]), rank(each[0])))
        return start

    def _ranked_rows(self, options: DecodingOptions, rows: np.ndarray, weights: Weights) -> Point:
        return self._ranked(options, weights).take(rows)

    def _toward_plain(self, options: DecodingOptions, best: Point, rows: np.ndarray) -> list[Point]:
        """Points on the way from the plain weights to the best ones, until one is within one standard error."""
        plain, tried = PLAIN[self._options.family], list[Point]()
        for share in SHARES_OF_WAY:
            weights = Weights(*(start + share * (end - start) for start, end in zip(plain, best.weights, strict=True)))
            tried.append(self.decoded(options, weights).take(rows))
            if within_one_error(tried[-1], best, self.groups[rows]):
                break
        return tried

    def _greedy(self) -> np.ndarray:
        greedy = replace(self._options, lm=None, beam_width=0, num_best=1)
        return self._once('greedy', lambda: self.count([each.ids for each in self.decode(greedy, None)]))

    def folds(self, number: int) -> list[np.ndarray]:
        """Rows of each part of the dev set, whole speakers, with about as many words."""
        return split_groups(self.groups, self._greedy()[:, LENGTH], number)

    def tune(self, rows: np.ndarray | None = None) -> Tuning:
        """Finds weights on some utterances of the dev set, or on all."""
        rows = np.arange(len(self.groups)) if rows is None else rows
        greedy = self._greedy()
        start, options = self._start(rows)
        step, num_halvings = (LAS_STEPS, 0) if self._is_las else (CTC_STEPS, NUM_HALVINGS + 1)

        def evaluate(weights: Weights) -> Point:
            return self.decoded(options, weights).take(rows)

        walk = search(evaluate, [start.weights], step[self.unit], num_halvings)
        points = list(tqdm(walk, desc='decoding', unit=' weights', disable=None))
        best = chosen = min(points, key=rank)
        if self.rule == ONE_SE:
            tried = self._toward_plain(options, best, rows)
            chosen = tried[-1] if within_one_error(tried[-1], best, self.groups[rows]) else best
            known = {each.weights for each in points}
            chosen = next((each for each in points if each.weights == chosen.weights), chosen)
            points += [each for each in tried if each.weights not in known]
        beam = self.count([each.ids for each in self._nbest(options)])
        options = replace(options, **chosen.weights._asdict())
        return Tuning(points, min(points, key=rank), chosen, options, greedy[rows], beam[rows])

    def cross_validate(self, folds: Sequence[np.ndarray]) -> tuple[np.ndarray, list[DecodingOptions]]:
        """Tunes without each fold and scores it: `Point.counts` of all utterances, and the options of each fold."""
        counts, found = np.zeros((len(self.groups), 5), np.int64), []
        for fold in folds:
            tuned = self.tune(np.setdiff1d(np.arange(len(self.groups)), fold)).options
            weights = Weights(tuned.lm_weight, tuned.word_bonus)
            searched = replace(tuned, lm_weight=self._options.lm_weight, word_bonus=self._options.word_bonus)
            counts[fold] = self.decoded(searched, weights).counts[fold]
            found.append(tuned)
        return counts, found
