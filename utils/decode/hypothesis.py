"""Hypotheses of the decoders: symbols with their frames and scores, and the words that they make up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

SHORTEST_REPEATED, LEAST_REPEATS = 8, 3


class Span(NamedTuple):
    """The output frames ``start_frame <= frame < end_frame`` of a symbol, and the sum of their log posteriors."""

    start_frame: int
    end_frame: int
    log_prob: float


@dataclass(frozen=True)
class Hypothesis:
    """A decoded utterance.

    Attributes:
      ids: the symbols.
      log_prob: log probability of the path (greedy decoding), blanks included.
      frames: a `Span` for each symbol.
    """

    ids: tuple[int, ...]
    log_prob: float
    frames: tuple[Span, ...]


@dataclass(frozen=True)
class Word:
    """A word with its time in seconds and a confidence in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``, with times to the millisecond."""
        times = {'start': round(self.start, 3), 'end': round(self.end, 3)}
        return {'word': self.word, **times, 'confidence': round(self.confidence, 4)}


@dataclass(frozen=True)
class BeamHypothesis(Hypothesis):
    """A text that the search found; `words` gives its words and their times.

    Attributes:
      ids, log_prob, frames: as in `Hypothesis`; log p(y | x) over all alignments, spans of the best one.
      lm_log_prob: log P_LM(y), natural log, without its weight; 0 without language model.
      num_words: the words that the bonus counts (symbols with a character model; 0 without language model).
      score: Q(y).
      boost: the part of the hot words in it.
      alternatives: the next best texts, where more than one was asked for.
    """

    lm_log_prob: float
    num_words: int
    score: float
    boost: float = 0.0
    alternatives: 'tuple[BeamHypothesis, ...]' = ()

    def scores(self) -> dict[str, float]:
        """What Q(y) consists of, for reports."""
        parts = ('score', 'log_prob', 'lm_log_prob', 'num_words', *(('boost',) if self.boost else ()))
        return {name: round(getattr(self, name), 4) for name in parts}


@dataclass(frozen=True)
class SpelledHypothesis(Hypothesis):
    """A text of an attention model; each symbol's `Span` is the encoder frame with most attention.

    Attributes:
      ids, log_prob, frames: as in `Hypothesis`; log_prob is log P(y | x) with `<eos>`.
      score: s(y), by which the hypotheses are ranked.
      boost: the part of the hot words in it, before the division by the length.
      is_cut: whether the limit ended it, not `<eos>`; a word that no lexicon has is then dropped, but scored.
      alternatives: the next best texts, where more than one was asked for.
    """

    score: float
    is_cut: bool
    boost: float = 0.0
    alternatives: 'tuple[SpelledHypothesis, ...]' = ()

    def scores(self) -> dict[str, float]:
        """Scores of the text by name, rounded, for reports."""
        boost = {'boost': round(self.boost, 4)} if self.boost else {}
        return {'score': round(self.score, 4), 'log_prob': round(self.log_prob, 4), **boost}


def with_alternatives(results: Sequence[Sequence[Any]]) -> list[Any]:
    """The best hypothesis of each utterance, with the others as its alternatives."""
    return [replace(best, alternatives=tuple(others)) for best, *others in results]


def confidence(spans: Sequence[Span]) -> float:
    """The geometric mean of the posteriors of the spans' frames, in [0, 1]; 0 when there are none.

    Blanks between the symbols are left out: their posteriors are nearly 1, which would raise the confidence of long
    words.
    """
    num_frames = sum(span.end_frame - span.start_frame for span in spans)
    if not num_frames:
        return 0.0
    return min(1.0, math.exp(sum(span.log_prob for span in spans) / num_frames))


def word_positions(ids: Sequence[int], space_id: int | None) -> list[list[int]]:
    """Positions of the symbols of each word; `space_id` None: every symbol is a word by itself."""
    if space_id is None:
        return [[position] for position in range(len(ids))]
    groups: list[list[int]] = [[]]
    for position, symbol in enumerate(ids):
        if symbol == space_id:
            groups.append([])
        else:
            groups[-1].append(position)
    return [group for group in groups if group]


def words(
    hypothesis: Hypothesis, tokens: Sequence[str], space_id: int | None, secs_per_frame: float, offset_secs: float = 0.0
) -> list[Word]:
    """Groups the symbols of a hypothesis to words.

    A CTC model shows a symbol as a short peak, often a little late; the times are those of the peaks.

    Args:
      hypothesis: what was decoded.
      tokens: the vocabulary's tokens in the order of their ids.
      space_id: the id of the space; None where every token is a word by itself.
      secs_per_frame: seconds from one output frame to the next.
      offset_secs: where the utterance begins in its recording.
    """
    return [
        Word(
            ''.join(tokens[hypothesis.ids[position]] for position in group),
            offset_secs + hypothesis.frames[group[0]].start_frame * secs_per_frame,
            offset_secs + hypothesis.frames[group[-1]].end_frame * secs_per_frame,
            confidence([hypothesis.frames[position] for position in group]),
        )
        for group in word_positions(hypothesis.ids, space_id)
    ]


def make_spans(peaks: np.ndarray, weights: np.ndarray, log_probs: np.ndarray) -> tuple[Span, ...]:
    """Times of the symbols: the encoder frame with most attention each, made monotonic by isotonic regression.

    The attention of a space may peak anywhere, so a peak is weighted by its attention in the least squares.

    Args:
      peaks: encoder frame with most attention of each symbol, int `[symbols]`.
      weights: attention of these frames, `[symbols]`.
      log_probs: log-probabilities of the symbols, `[symbols]`.
    """
    if not len(peaks):
        return ()
    frames = isotonic_regression(peaks, weights=np.maximum(weights, 1e-3)).x.round().astype(int)
    return tuple(map(Span, frames.tolist(), (frames + 1).tolist(), np.asarray(log_probs).tolist()))


def repeats_itself(ids: Sequence[int]) -> bool:
    """Whether a stretch of symbols stands at least three times in a row, eight symbols or more in all."""
    symbols = np.asarray(ids)
    for period in range(1, len(symbols) // LEAST_REPEATS + 1):
        same = symbols[period:] == symbols[:-period]
        needed = max((LEAST_REPEATS - 1) * period, SHORTEST_REPEATED - period)
        # the longest run of places that equal the one a period before
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same, [0]])))
        if len(edges) and (edges[1::2] - edges[::2]).max() >= needed:
            return True
    return False
