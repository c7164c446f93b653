"""Tuning of the weights of a language model on a dev set: n-best lists are ranked, then the best weights refined."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from utils.decode.options import DecodingOptions
from utils.lm.scorer import Scorer, Weights, score_symbols, with_weights
from utils.metrics import Scores

LM_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = {'word': (-1.0, 0.0, 1.0, 2.0, 4.0), 'char': (-0.5, 0.0, 0.5, 1.0, 2.0)}
FIRST_STEPS = {'word': Weights(0.25, 0.5), 'char': Weights(0.125, 0.25)}
NUM_HALVINGS = 2
MAX_LM_WEIGHT = 10.0
# las: a language model adds less to the decoder, which has an internal one, than to the CTC head; where scores are not
# normalised by length, the bonus makes up for it
CTC_SHARES = (0.3, 0.5, 0.7)
LENGTH_NORMS = (0.0, 1.0)
CTC_STEPS = {'word': Weights(0.5, 1.0), 'char': Weights(0.25, 0.5)}
LAS_STEPS = {'word': Weights(0.125, 0.25), 'char': Weights(0.0625, 0.125)}


class Point(NamedTuple):
    """Scores of the dev set with a pair of weights, and the number of its texts that came out empty."""

    weights: Weights
    scores: Scores
    num_empty: int


def rank(point: Point) -> tuple[float, float, float, float]:
    """Orders points, the best first: by the errors that lead, the character errors, and then the smaller weights."""
    scores, weights = point.scores, point.weights
    return scores.leading.errors, scores.characters.errors, weights.lm_weight, abs(weights.word_bonus)


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


class Tuning(NamedTuple):
    """Result of `tune`.

    Attributes:
      points: scores with each pair of weights that the dev set was decoded with.
      options: options of the search with the best point's weights.
      greedy: scores of greedy decoding.
      beam: scores of the beam without language model, with the best CTC share.
    """

    points: list[Point]
    options: DecodingOptions
    greedy: Scores
    beam: Scores


def tune(
    options: DecodingOptions, fixed: Collection[str], scorer: Scorer, decode: Callable[..., Sequence[Any]],
    score: Callable[[Weights, Sequence[Sequence[int]]], Point],
) -> Tuning:  # fmt: skip
    """Finds the weights of a language model: ranks n-best lists, then decodes around the best.

    The n-best lists of the beam without language model are ranked with a grid of weights. For las, this is done for
    several shares of the CTC head and length norms, since each of its beam searches runs the model.

    Args:
      options: options of the search, with the language model.
      fixed: names of the flags of las that are not tuned.
      scorer: the language model.
      decode: decodes the dev set: (options, scorer or None) -> hypotheses with alternatives.
      score: scores texts, given as ids, of the dev set: (weights, texts) -> `Point`.
    """
    is_las, unit, progress = options.family == 'attention', scorer.unit, partial(tqdm, disable=None)

    def point(weights: Weights, hypotheses: Sequence[Any]) -> Point:
        return score(weights, [each.ids for each in hypotheses])

    def reranked(best_texts: Callable[[Weights], list], weights: Weights) -> Point:
        return score(weights, best_texts(weights))

    greedy = point(Weights(), decode(replace(options, lm=None, beam_width=0), None))
    tunes_share = options.ctc_decode_weight and 'ctc_decode_weight' not in fixed
    # with coverage, which is not divided, a text's score for another norm does not follow from this one
    tunes_norm = is_las and not {'length_norm', 'coverage_weight'}.intersection(fixed)
    power, beams, ranked = options.length_norm if is_las else 0.0, [], []
    shares = CTC_SHARES if tunes_share else [options.ctc_decode_weight]
    for share in progress(shares, desc='ranking', unit=' shares'):
        plain = replace(options, ctc_decode_weight=share)
        hypotheses = decode(replace(plain, lm=None, num_best=options.beam_width), None)
        beams.append(point(Weights(), hypotheses))
        for norm in LENGTH_NORMS if tunes_norm else [power]:
            evaluate = partial(reranked, reranking(hypotheses, scorer, power, norm))
            best = min(search(evaluate, grid(unit), FIRST_STEPS[unit]), key=rank)
            ranked.append((best, replace(plain, length_norm=norm)))
    start, options = min(ranked, key=lambda each: rank(each[0]))
    step, num_halvings = (LAS_STEPS[unit], 0) if is_las else (CTC_STEPS[unit], NUM_HALVINGS + 1)

    def decoded(weights: Weights) -> Point:
        return point(weights, decode(options, with_weights(scorer, weights)))

    walk = search(decoded, [start.weights], step, num_halvings)
    points = list(progress(walk, desc='decoding', unit=' weights'))
    options = replace(options, **min(points, key=rank).weights._asdict())
    return Tuning(points, options, greedy.scores, min(beams, key=rank).scores)
