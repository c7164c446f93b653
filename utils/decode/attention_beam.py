"""Beam search for a model with attention (Listen, Attend and Spell; arXiv 1612.02695, section 2.4), in numpy.

    s(y) = ((1 - w) · log P(y | x) + w · log P_CTC(y | x) + lm(y)) / |y|^p + b · Σ_j [Σ_i α_ij > τ]

with the options w = ctc_decode_weight, p = length_norm, b = coverage_weight; |y| counts `<eos>`. p 1 is the first
paper's normalisation, p 0 with coverage the second's. The first paper adds the language model unnormalised; divided
like the rest, one weight suits short and long texts. Texts that ended leave the beam, as in the first paper, and the
search goes on until no live hypothesis can reach a score among the best. The graph of the model calls `begin`, which
returns the width, and at each step `advance`, which returns the hypotheses that go on.
"""

from typing import Any, NamedTuple

import numpy as np

from utils.decode import ctc_prefix
from utils.decode.hypothesis import SpelledHypothesis, make_spans, with_alternatives
from utils.decode.options import DecodingOptions
from utils.errors import DataError
from utils.lm.scorer import Scorer

COVERAGE_THRESHOLD = 0.5  # τ
CANDIDATES = 16  # symbols tried after each hypothesis
MOST_BONUS = 10.0  # nats of a bonus to come that count in pruning; with all, no search would end before the limit


class _Ended(NamedTuple):
    """A finished hypothesis: its score, log P(y | x), last step and slot, and whether the limit ended it."""

    score: float
    log_prob: float
    step: int
    slot: int
    is_cut: bool


class AttentionBeam:
    """A beam search over a batch: `begin`, `advance` until it returns True, `results`.

    Args:
      end_id: class of `<sos>/<eos>`, the last one.
      options: options of the search.
      scorer: language model, or None.
    """

    def __init__(self, end_id: int, options: DecodingOptions, scorer: Scorer | None = None):
        self._end, self.options = end_id, options
        self._scorer: Any = scorer

    def begin(
        self, limits: np.ndarray, log_posteriors: np.ndarray, lengths: np.ndarray, encoder_lengths: np.ndarray
    ) -> np.int32:
        """Starts a batch.

        Args:
          limits: most symbols of each utterance, int `[batch]`.
          log_posteriors: log-posteriors of the CTC head, `[batch, frames, classes]`; no frames without a head.
          lengths: its frames of each utterance, int `[batch]`.
          encoder_lengths: encoder frames of each utterance, which may get attention, int `[batch]`.

        Returns:
          The width of the beam.
        """
        options, (batch, num_frames, _) = self.options, log_posteriors.shape
        width = options.beam_width
        self._limits, self._encoder_lengths, self._steps = limits, encoder_lengths, 0
        self._has_nan = bool(options.ctc_decode_weight and np.isnan(log_posteriors).any())
        # one live hypothesis an utterance; dead slots have a score of minus infinity
        self._spelled = np.full([batch, width], -np.inf)  # log P(y | x)
        self._spelled[:, 0] = 0
        self._fused = np.zeros([batch, width])
        self._attended: np.ndarray | None = None  # Σ α of each encoder frame, from the first step on
        self._last = np.full([batch, width], -1)
        self._finished: list[list[_Ended]] = [[] for _ in range(batch)]
        self._needed = np.full(batch, -np.inf)  # score of the worst of the `num_best` best texts that ended
        self._is_stuck = np.zeros(batch, bool)  # whether the limit came within the words of a closed lexicon
        # of each step: parents, symbols, log-probabilities, frames with most attention, and how much
        self._past: list[tuple[np.ndarray, ...]] = []
        if self._scorer:
            self._states = self._scorer.start(batch * width).reshape(batch, width, -1)
        if options.ctc_decode_weight:
            self._log_posteriors = np.ascontiguousarray(log_posteriors, np.float64)
            self._posteriors, self._lengths = np.exp(self._log_posteriors), lengths
            self._alignments = np.full([batch, width, num_frames, 2], ctc_prefix.LOG_ZERO)
            for row, length in enumerate(lengths):
                ctc_prefix.start(self._log_posteriors[row], length, self._end, self._alignments[row, 0])
        return np.int32(width)

    def advance(self, logits: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        """Extends every hypothesis by a symbol.

        Args:
          logits: scores of the next symbol, `[batch · width, classes]`.
          weights: attention, `[batch · width, encoder frames]`.

        Returns:
          The row from which each hypothesis goes on and its symbol, int32 `[batch · width]`, and whether all ended.
        """
        options = self.options
        batch, width = self._spelled.shape
        logits = logits.reshape(batch, width, -1) / options.temperature
        log_probs = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
        self._has_nan |= bool(np.isnan(log_probs).any())
        weights = weights.reshape(batch, width, -1)
        attended = weights if self._attended is None else self._attended + weights
        symbols, spelled, fused, aligned = self._extensions(log_probs)
        share = options.ctc_decode_weight
        total = (1 - share) * spelled + share * aligned + fused
        covered = options.coverage_weight * (attended > COVERAGE_THRESHOLD).sum(2)
        scores = total / (self._steps + 1) ** options.length_norm + covered[:, :, np.newaxis]
        scores = np.where(np.isfinite(scores), scores, -np.inf).reshape(batch, -1)
        kept = np.argsort(-scores, 1, kind='stable')[:, :width]
        parents, slots = np.divmod(kept, symbols.shape[2])
        rows = np.arange(batch)[:, np.newaxis]
        taken = (rows, parents, slots)
        chosen = symbols[taken]
        chances = log_probs[rows, parents, chosen]
        peaks = weights.argmax(2)[rows, parents], weights.max(2)[rows, parents]
        self._past.append((parents, chosen, chances, *peaks))
        self._spelled, self._fused, self._attended = spelled[taken], fused[taken], attended[rows, parents]
        self._finish(np.take_along_axis(scores, kept, 1), chosen)
        self._follow(parents, chosen, np.isfinite(self._spelled))
        self._steps += 1
        self._prune(total[taken])
        is_live = np.isfinite(self._spelled)
        return (
            (rows * width + parents).astype(np.int32).ravel(),
            np.where(is_live, chosen, self._end).astype(np.int32).ravel(),
            np.bool_(not is_live.any()),
        )

    def _extensions(self, log_probs: np.ndarray) -> tuple[np.ndarray, ...]:
        """The next symbols to try, and their log P(y | x), LM and CTC scores `[batch, width, candidates]`."""
        options, end = self.options, self._end
        allowed = log_probs.copy()
        lowest = log_probs.max(2) + np.log(max(options.end_threshold, 1e-30))
        allowed[:, :, end] = np.where(log_probs[:, :, end] >= lowest, log_probs[:, :, end], -np.inf)
        allowed[self._steps >= self._limits, :, :end] = -np.inf  # nothing but the end is left
        at_limit = self._steps >= self._limits
        allowed[at_limit, :, end] = log_probs[at_limit, :, end]
        added: Any = 0.0
        if self._scorer:
            states = self._states.reshape(-1, self._states.shape[2])
            added = self._scorer.scores(states).reshape(log_probs.shape)
            may_end = np.isfinite(self._spelled + added[:, :, end]).any(1)
            self._is_stuck |= at_limit & ~may_end & [not finished for finished in self._finished]
            added[self._is_stuck & at_limit, :, end] = 0  # the open words are dropped in `results`
        num = min(CANDIDATES, log_probs.shape[2])
        symbols = np.argsort(-(allowed + added), 2, kind='stable')[:, :, :num]
        spelled = self._spelled[:, :, np.newaxis] + np.take_along_axis(allowed, symbols, 2)
        fused = self._fused[:, :, np.newaxis] + (np.take_along_axis(added, symbols, 2) if self._scorer else 0.0)
        aligned = np.zeros(symbols.shape)
        if options.ctc_decode_weight:
            aligned[:] = ctc_prefix.LOG_ZERO
            last = np.where(np.isfinite(self._spelled), self._last, -2)
            ctc_prefix.score_batch(self._posteriors, self._lengths, end, self._alignments, last, symbols, aligned)
        return symbols, spelled, fused + np.zeros_like(spelled), aligned

    def _finish(self, scores: np.ndarray, symbols: np.ndarray) -> None:
        """Moves the hypotheses that ended to the finished ones; their slots, and those of score -inf, are dead."""
        ended = np.isfinite(scores) & (symbols == self._end)
        for row, slot in zip(*np.nonzero(ended), strict=True):
            score, log_prob = float(scores[row, slot]), float(self._spelled[row, slot])
            is_cut = bool(self._steps >= self._limits[row])
            self._finished[row].append(_Ended(score, log_prob, self._steps, slot, is_cut))
        for row in np.flatnonzero(ended.any(1)):
            best = sorted((each.score for each in self._finished[row]), reverse=True)[: self.options.num_best]
            self._needed[row] = best[-1] if len(best) == self.options.num_best else -np.inf
        self._spelled[ended | ~np.isfinite(scores)] = -np.inf

    def _prune(self, totals: np.ndarray) -> None:
        """Ends the hypotheses whose text can no longer be among the best.

        A logarithm of a probability only lowers a sum. The language model returns at most what it charged for an open
        word, and adds at most its bonus for each symbol, of which `MOST_BONUS` are counted.
        """
        options, limits = self.options, self._limits[:, np.newaxis]
        if self._scorer:
            bonus = max(self._scorer.word_bonus, 0.0) * (limits - self._steps)
            totals = totals + self._scorer.charged(self._states) + np.minimum(bonus, MOST_BONUS)
        # the longest text has the smallest loss, the shortest one the largest gain
        lengths = np.where(totals < 0, limits, self._steps) + 1
        reached = totals / lengths**options.length_norm
        reached += options.coverage_weight * self._encoder_lengths[:, np.newaxis]
        self._spelled[reached <= self._needed[:, np.newaxis]] = -np.inf

    def _trace(self, row: int, ended: _Ended) -> SpelledHypothesis:
        """Follows a hypothesis back from its end."""
        slot, steps = ended.slot, []
        for parents, *noted in reversed(self._past[: ended.step + 1]):
            steps.append([each[row, slot] for each in noted])
            slot = parents[row, slot]
        written = steps[:0:-1]  # the last is the end
        columns = zip(*written, strict=True) if written else [()] * 4
        ids, chances, peaks, weights = (np.array(each) for each in columns)
        spans = make_spans(peaks, weights, chances)
        length = len(ids)
        while self._is_stuck[row] and length and ids[length - 1] != self._scorer.space_id:
            length -= 1  # an open word that the lexicon does not hold
        text = tuple(map(int, ids[:length]))
        return SpelledHypothesis(text, ended.log_prob, spans[:length], ended.score, ended.is_cut)

    def _follow(self, parents: np.ndarray, symbols: np.ndarray, is_live: np.ndarray) -> None:
        """Updates the states of the language model and of the CTC head."""
        rows = np.arange(len(parents))[:, np.newaxis]
        if self._scorer:
            states = self._states[rows, parents]
            shape = states.shape
            self._states = self._scorer.follow(states.reshape(-1, shape[2]), symbols.ravel()).reshape(shape)
        if self.options.ctc_decode_weight:
            new = np.full_like(self._alignments, ctc_prefix.LOG_ZERO)
            kept = np.where(is_live, parents, -1)
            ctc_prefix.follow_batch(
                self._log_posteriors, self._lengths, self._end, self._alignments, self._last, kept, symbols, new
            )
            self._alignments = new
        self._last = symbols

    def results(self) -> list[SpelledHypothesis]:
        """The best finished hypothesis of each utterance, with the next `num_best` - 1 as its alternatives.

        Raises:
          DataError: the model gave NaN.
        """
        if self._has_nan:
            raise DataError("the speller's scores hold NaN; the model has diverged: take an earlier checkpoint")
        ranked = (sorted(finished, key=lambda ended: -ended.score) for finished in self._finished)
        counts = np.where(self._is_stuck, 1, self.options.num_best)  # texts without their last words may be equal
        best = (finished[:count] for finished, count in zip(ranked, counts, strict=True))
        return with_alternatives([[self._trace(row, each) for each in finished] for row, finished in enumerate(best)])
