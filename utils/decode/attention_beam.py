"""Beam search for a model with attention (Listen, Attend and Spell; arXiv 1612.02695, section 2.4), in numpy.

    s(y) = ((1 - w) · log P(y | x) + w · log P_CTC(y | x) + lm(y) - v · log P_ILM(y) + boost(y)) / |y|^p
           + b · Σ_j [Σ_i α_ij > τ]

with the options w = ctc_decode_weight, v = ilm_weight, p = length_norm, b = coverage_weight; |y| counts `<eos>`. p 1
is the first paper's normalisation, p 0 with coverage the second's. The first paper adds the language model
unnormalised; divided like the rest, one weight suits short and long texts; so is the boost of hot words
(`context_graph`). Texts that ended leave the beam, as in the first paper, and the search goes on until no live
hypothesis can reach a score among the best. The graph of the model calls `begin`, which returns the width, and at each
step `advance`, which returns the hypotheses that go on.
"""

from typing import Any, NamedTuple

import numpy as np

from utils.decode import ctc_prefix
from utils.decode.hypothesis import SpelledHypothesis, make_spans, with_alternatives
from utils.decode.options import DecodingOptions
from utils.errors import DataError
from utils.lm.context_graph import ContextGraph, boost, follow_all, score_classes
from utils.lm.scorer import Scorer

COVERAGE_THRESHOLD = 0.5  # τ
CANDIDATES = 16  # symbols tried after each hypothesis
MOST_BONUS = 10.0  # nats of a bonus to come that count in pruning; with all, no search would end before the limit


class BeamScorer:
    """A weighted part of s(y) beside log P(y | x), over one batch; a subclass overrides what it has, `begin` adds it.

    Arrays have a row for each hypothesis, `width` for each utterance.
    """

    def extend(self) -> Any:
        """Score of each next symbol, `[hypotheses, classes]`; it helps to choose the candidates, the beam sums it."""
        return 0.0

    def score(self, symbols: np.ndarray, weights: np.ndarray, is_live: np.ndarray) -> Any:
        """Score of the whole text with each candidate symbol, `[hypotheses, candidates or 1]`.

        `weights` is the attention at this step, `[hypotheses, frames]`; rows that are not live need no score.
        """
        return 0.0

    def follow(self, parents: np.ndarray, symbols: np.ndarray) -> None:
        """Continues with the hypotheses kept: the row of each one's parent, -1 for none, and its symbol."""

    def gain(self, left: np.ndarray) -> Any:
        """Upper bound of what `left` more symbols, int `[hypotheses]`, add to the text's sum."""
        return 0.0


class LmScorer(BeamScorer):
    """Language model."""

    def __init__(self, scorer: Scorer, num_hypotheses: int):
        self._scorer: Any = scorer
        self._states = scorer.start(num_hypotheses)

    def extend(self) -> np.ndarray:
        return self._scorer.scores(self._states)

    def follow(self, parents: np.ndarray, symbols: np.ndarray) -> None:
        self._states = self._scorer.follow(self._states[parents], symbols)

    def gain(self, left: np.ndarray) -> np.ndarray:
        """The look-ahead that an open word was charged, and the bonus for each symbol, `MOST_BONUS` at most."""
        return self._scorer.charged(self._states) + np.minimum(max(self._scorer.word_bonus, 0.0) * left, MOST_BONUS)


class IlmScorer(BeamScorer):
    """Internal language model of the decoder, subtracted (Meng et al. 2021, arXiv 2011.01991).

    Its logits come with each step, from a decoder whose context vector is zero.
    """

    def __init__(self, weight: float):
        self._weight = weight
        self._scores = np.zeros(0)

    def observe(self, logits: np.ndarray) -> None:
        """Takes the logits of a step, `[hypotheses, classes]`."""
        self._scores = -self._weight * (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))

    def extend(self) -> np.ndarray:
        return self._scores

    def gain(self, left: np.ndarray) -> float:
        """Every symbol to come and the end raise the sum; `MOST_BONUS` counts."""
        return MOST_BONUS


class CtcScorer(BeamScorer):
    """Prefix probabilities of a CTC head, from log-posteriors `[batch, frames, classes]`."""

    def __init__(self, weight: float, log_posteriors: np.ndarray, lengths: np.ndarray, end_id: int, width: int):
        log_posteriors = np.ascontiguousarray(log_posteriors, np.float64)
        self._weight, self._probs = weight, (np.exp(log_posteriors), lengths, end_id)
        self._log_probs = log_posteriors, lengths, end_id
        self._alignments = np.full([len(lengths) * width, log_posteriors.shape[1], 2], ctc_prefix.LOG_ZERO)
        self._last = np.full(len(self._alignments), -1)
        for row, length in enumerate(lengths):
            ctc_prefix.start(log_posteriors[row], length, end_id, self._alignments[row * width])

    def score(self, symbols: np.ndarray, weights: np.ndarray, is_live: np.ndarray) -> np.ndarray:
        scores, last = np.full(symbols.shape, ctc_prefix.LOG_ZERO), np.where(is_live, self._last, -2)
        ctc_prefix.score_batch(*self._probs, self._alignments, last, symbols, scores)
        return self._weight * scores

    def follow(self, parents: np.ndarray, symbols: np.ndarray) -> None:
        new = np.full_like(self._alignments, ctc_prefix.LOG_ZERO)
        ctc_prefix.follow_batch(*self._log_probs, self._alignments, self._last, parents, symbols, new)
        self._alignments, self._last = new, symbols


class HotwordScorer(BeamScorer):
    """Hot words."""

    def __init__(self, graph: ContextGraph, num_hypotheses: int, num_classes: int):
        self._graph: Any = graph
        self._shape, self._nodes = (num_hypotheses, num_classes), np.full(num_hypotheses, graph.start, np.int64)
        self._most = float(graph.bounds.max())  # that one symbol adds

    def extend(self) -> np.ndarray:
        scores = np.empty(self._shape)
        score_classes(self._graph, self._nodes, scores)
        return scores

    def follow(self, parents: np.ndarray, symbols: np.ndarray) -> None:
        self._nodes = self._nodes[parents]
        follow_all(self._graph, self._nodes, symbols.astype(np.int64), self._shape[1] - 1)

    def gain(self, left: np.ndarray) -> np.ndarray:
        """The credit is part of the sum, so only what later symbols add counts, `MOST_BONUS` at most."""
        return np.minimum(self._most * (left + 1), MOST_BONUS)


class CoverageScorer(BeamScorer):
    """Encoder frames whose attention, summed over the text, is above the threshold."""

    def __init__(self, weight: float, frames: np.ndarray):
        self._weight, self._frames = weight, frames  # int [hypotheses]
        self._attended: Any = 0.0

    def score(self, symbols: np.ndarray, weights: np.ndarray, is_live: np.ndarray) -> np.ndarray:
        self._attended = self._attended + weights
        return self._weight * (self._attended > COVERAGE_THRESHOLD).sum(1, keepdims=True)

    def follow(self, parents: np.ndarray, symbols: np.ndarray) -> None:
        self._attended = self._attended[parents]

    def gain(self, left: np.ndarray) -> np.ndarray:
        """All frames: what is covered so far is not in the sum."""
        return self._weight * self._frames


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
      hotwords: hot words, or None.

    Attributes:
      options: options of the search.
      uses_ilm: whether `advance` needs the logits of the internal language model.
    """

    def __init__(
        self, end_id: int, options: DecodingOptions, scorer: Scorer | None = None, hotwords: ContextGraph | None = None
    ):
        self._end, self.options, self.uses_ilm = end_id, options, options.ilm_weight > 0
        self._scorer: Any = scorer
        self._hotwords: Any = hotwords

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
        options, batch, width = self.options, len(limits), self.options.beam_width
        self._limits, self._steps = limits, 0
        self._has_nan = bool(options.ctc_decode_weight and np.isnan(log_posteriors).any())
        # one live hypothesis an utterance; dead slots have a score of minus infinity
        self._decoded = np.full([batch, width], -np.inf)  # log P(y | x), by the model's decoder
        self._decoded[:, 0] = 0
        self._extended = np.zeros([batch, width])  # sum of the scorers' `extend`
        self._finished: list[list[_Ended]] = [[] for _ in range(batch)]
        self._needed = np.full(batch, -np.inf)  # score of the worst of the `num_best` best texts that ended
        self._is_stuck = np.zeros(batch, bool)  # whether the limit came within the words of a closed lexicon
        # of each step: slots of the parents, symbols, log-probabilities, frames with most attention, and how much
        self._past: list[tuple[np.ndarray, ...]] = []
        # the scores of the first are divided by |y|^p, those of the others are not
        self._scorers, self._undivided = list[BeamScorer](), list[BeamScorer]()
        if options.ctc_decode_weight:
            self._scorers.append(CtcScorer(options.ctc_decode_weight, log_posteriors, lengths, self._end, width))
        if self._scorer:
            self._scorers.append(LmScorer(self._scorer, batch * width))
        if self._hotwords:
            self._scorers.append(HotwordScorer(self._hotwords, batch * width, self._end + 1))
        self._ilm = IlmScorer(options.ilm_weight)
        if self.uses_ilm:
            self._scorers.append(self._ilm)
        if options.coverage_weight:
            self._undivided.append(CoverageScorer(options.coverage_weight, np.repeat(encoder_lengths, width)))
        return np.int32(width)

    def advance(
        self, logits: np.ndarray, weights: np.ndarray, ilm_logits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        """Extends every hypothesis by a symbol.

        Args:
          logits: scores of the next symbol, `[batch · width, classes]`.
          weights: attention, `[batch · width, encoder frames]`.
          ilm_logits: scores of the next symbol without the audio, `[batch · width, classes]`; for `uses_ilm`.

        Returns:
          The row from which each hypothesis goes on and its symbol, int32 `[batch · width]`, and whether all ended.
        """
        options, (batch, width) = self.options, self._decoded.shape
        logits = logits / options.temperature
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        self._has_nan |= bool(np.isnan(log_probs).any())
        if self.uses_ilm:
            self._ilm.observe(np.asarray(ilm_logits))
        symbols, decoded, extended = self._extensions(log_probs)
        step = symbols, weights, np.isfinite(self._decoded).ravel()
        total = (1 - options.ctc_decode_weight) * decoded + sum(each.score(*step) for each in self._scorers) + extended
        scores = total / (self._steps + 1) ** options.length_norm + sum(each.score(*step) for each in self._undivided)
        scores = np.where(np.isfinite(scores), scores, -np.inf).reshape(batch, -1)
        kept = np.argsort(-scores, 1, kind='stable')[:, :width]
        slots, places = np.divmod(kept, symbols.shape[1])
        parents = np.arange(0, batch * width, width)[:, np.newaxis] + slots
        taken = parents, places
        chosen = symbols[taken]
        peaks = weights.argmax(1)[parents], weights.max(1)[parents]
        self._past.append((slots, chosen, log_probs[parents, chosen], *peaks))
        self._decoded, self._extended = decoded[taken], extended[taken]
        self._finish(np.take_along_axis(scores, kept, 1), chosen)
        origins = np.where(np.isfinite(self._decoded), parents, -1)
        for each in self._scorers + self._undivided:
            each.follow(origins.ravel(), chosen.ravel())
        self._steps += 1
        self._prune(total[taken].ravel())
        is_live = np.isfinite(self._decoded)
        return (
            parents.astype(np.int32).ravel(),
            np.where(is_live, chosen, self._end).astype(np.int32).ravel(),
            np.bool_(not is_live.any()),
        )

    def _extensions(self, log_probs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Candidates, and with each of them log P(y | x) and the sum of `extend`, `[hypotheses, candidates]`."""
        end, is_last, (_, width) = self._end, self._steps >= self._limits, self._decoded.shape
        at_limit, ends = np.repeat(is_last, width), log_probs[:, end]
        lowest = log_probs.max(1) + np.log(max(self.options.end_threshold, 1e-30))
        allowed, added = log_probs.copy(), np.zeros_like(log_probs)
        allowed[:, end] = np.where(at_limit | (ends >= lowest), ends, -np.inf)
        allowed[at_limit, :end] = -np.inf  # nothing but the end is left
        for each in self._scorers:
            added += each.extend()
        may_end = np.isfinite(self._decoded + added[:, end].reshape(self._decoded.shape)).any(1)
        self._is_stuck |= is_last & ~may_end & [not finished for finished in self._finished]
        added[np.repeat(self._is_stuck, width), end] = 0  # the open words are dropped in `results`
        symbols = np.argsort(-(allowed + added), 1, kind='stable')[:, :CANDIDATES]
        decoded = self._decoded.reshape(-1, 1) + np.take_along_axis(allowed, symbols, 1)
        return symbols, decoded, self._extended.reshape(-1, 1) + np.take_along_axis(added, symbols, 1)

    def _finish(self, scores: np.ndarray, symbols: np.ndarray) -> None:
        """Moves the hypotheses that ended to the finished ones; their slots, and those of score -inf, are dead."""
        ended = np.isfinite(scores) & (symbols == self._end)
        for row, slot in zip(*np.nonzero(ended), strict=True):
            score, log_prob = float(scores[row, slot]), float(self._decoded[row, slot])
            is_cut = bool(self._steps >= self._limits[row])
            self._finished[row].append(_Ended(score, log_prob, self._steps, slot, is_cut))
        for row in np.flatnonzero(ended.any(1)):
            best = sorted((each.score for each in self._finished[row]), reverse=True)[: self.options.num_best]
            self._needed[row] = best[-1] if len(best) == self.options.num_best else -np.inf
        self._decoded[ended | ~np.isfinite(scores)] = -np.inf

    def _prune(self, totals: np.ndarray) -> None:
        """Ends the hypotheses whose text can no longer be among the best.

        A logarithm of a probability only lowers a sum; `BeamScorer.gain` bounds what raises it.
        """
        width = self._decoded.shape[1]
        limits = np.repeat(self._limits, width)
        totals = totals + sum(each.gain(limits - self._steps) for each in self._scorers)
        # the longest text has the smallest loss, the shortest one the largest gain
        lengths = np.where(totals < 0, limits, self._steps) + 1
        reached = totals / lengths**self.options.length_norm
        reached += sum(each.gain(limits - self._steps) for each in self._undivided)
        self._decoded[(reached <= np.repeat(self._needed, width)).reshape(self._decoded.shape)] = -np.inf

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
        added = boost(self._hotwords, np.array(text, np.int64)) if self._hotwords else 0.0
        return SpelledHypothesis(text, ended.log_prob, spans[:length], ended.score, ended.is_cut, added)

    def results(self) -> list[SpelledHypothesis]:
        """The best finished hypothesis of each utterance, with the next `num_best` - 1 as its alternatives.

        Raises:
          DataError: the model gave NaN.
        """
        if self._has_nan:
            raise DataError("the decoder's scores hold NaN; the model has diverged: take an earlier checkpoint")
        ranked = (sorted(finished, key=lambda ended: -ended.score) for finished in self._finished)
        counts = np.where(self._is_stuck, 1, self.options.num_best)  # texts without their last words may be equal
        best = (finished[:count] for finished, count in zip(ranked, counts, strict=True))
        return with_alternatives([[self._trace(row, each) for each in finished] for row, finished in enumerate(best)])
