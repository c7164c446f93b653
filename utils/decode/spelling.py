"""What a speller wrote: options of its search, its hypotheses, and those that repeat themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from utils.decode import ctc
from utils.errors import UsageError

SHORTEST_REPEATED, LEAST_REPEATS = 8, 3


@dataclass(frozen=True)
class SpellingOptions:
    """How a speller's text is searched for.

    Attributes:
      beam_width: hypotheses kept at a step.
      num_best: texts to return.
      temperature: divides the logits; above 1 it evens out an over-confident model.
      length_norm: p.
      coverage_weight: b, for each listened frame that got attention.
      coverage_threshold: τ.
      end_threshold: `<eos>` may end a text only when its probability is at least this share of the best symbol's.
      ctc_weight: w, the CTC head's share.
      candidates: symbols tried after each hypothesis.
      margin: a hypothesis whose log-probability is further below that of the best finished one is given up (nats).
    """

    beam_width: int = 32
    num_best: int = 1
    temperature: float = 1.0
    length_norm: float = 1.0
    coverage_weight: float = 0.0
    coverage_threshold: float = 0.5
    end_threshold: float = 0.1
    ctc_weight: float = 0.0
    candidates: int = 16
    margin: float = 10.0

    def __post_init__(self) -> None:
        for name in ('beam_width', 'num_best', 'candidates'):
            if getattr(self, name) < 1:
                raise UsageError(f'{name} {getattr(self, name)} must be at least 1')
        if not self.temperature > 0:
            raise UsageError(f'temperature {self.temperature} must lie above 0')


@dataclass(frozen=True)
class SpelledHypothesis(ctc.Hypothesis):
    """A text that a speller wrote; each symbol's `ctc.Span` is the listened frame that got most attention.

    Attributes:
      ids, log_prob, frames: as in `ctc.Hypothesis`; log_prob is log P(y | x) with `<eos>`.
      score: s(y), by which the hypotheses are ranked.
      is_cut: whether the limit ended it, not `<eos>`.
      alternatives: the next best texts, where more than one was asked for.
    """

    score: float
    is_cut: bool
    alternatives: 'tuple[SpelledHypothesis, ...]' = ()

    def scores(self) -> dict[str, float]:
        """For reports."""
        return {'score': round(self.score, 4), 'log_prob': round(self.log_prob, 4)}


def greedy(ids, log_probs, lengths, end_log_probs, weights) -> list[SpelledHypothesis]:
    """Hypotheses from what a greedy graph wrote.

    Args:
      ids: int `[batch, symbols]`.
      log_probs: of the symbols, `[batch, symbols]`.
      lengths: int `[batch]`.
      end_log_probs: of `<eos>`, `[batch]`; 0 where the limit came first.
      weights: attention, `[batch, symbols, frames]`.
    """
    hypotheses = []
    for row, length in enumerate(lengths.tolist()):
        seen = weights[row, :length]
        spans = make_spans(seen.argmax(1), seen.max(1, initial=0), log_probs[row, :length])
        log_prob = float(log_probs[row, :length].sum() + end_log_probs[row])
        hypotheses.append(
            SpelledHypothesis(
                tuple(ids[row, :length].tolist()), log_prob, spans, log_prob / (length + 1), end_log_probs[row] == 0
            )
        )
    return hypotheses


def make_spans(peaks: np.ndarray, weights: np.ndarray, log_probs: np.ndarray) -> tuple[ctc.Span, ...]:
    """Where each symbol stood: the listened frame that got most attention, moved so that time never runs back.

    A space is often listened to anywhere. Of all orders in time, the least squares from the peaks are taken, in which a
    vague peak counts little.

    Args:
      peaks: int `[symbols]`, frames.
      weights: attention there, `[symbols]`.
      log_probs: of the symbols, `[symbols]`.
    """
    if not len(peaks):
        return ()
    frames = isotonic_regression(peaks, weights=np.maximum(weights, 1e-3)).x.round().astype(int)
    return tuple(map(ctc.Span, frames.tolist(), (frames + 1).tolist(), np.asarray(log_probs).tolist()))


def repeats_itself(ids: Sequence[int]) -> bool:
    """Whether a stretch of symbols stands at least three times in a row, eight symbols or more in all."""
    ids = np.asarray(ids)
    for period in range(1, len(ids) // LEAST_REPEATS + 1):
        same = ids[period:] == ids[:-period]
        needed = max((LEAST_REPEATS - 1) * period, SHORTEST_REPEATED - period)
        # the longest run of places that equal the one a period before
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same, [0]])))
        if len(edges) and (edges[1::2] - edges[::2]).max() >= needed:
            return True
    return False
