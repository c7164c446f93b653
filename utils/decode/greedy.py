"""Greedy decoding for both families of models; it does not import Numba, which would delay the start of training."""

from collections.abc import Sequence

import numpy as np

from utils.decode.hypothesis import Hypothesis, Span, SpelledHypothesis, make_spans


def best_paths(
    best_ids: np.ndarray, best_log_probs: np.ndarray, lengths: np.ndarray | Sequence[int], blank_id: int
) -> list[Hypothesis]:
    """Decodes the best paths of CTC posteriors: repeated symbols are merged, then blanks removed.

    Args:
      best_ids: the most probable class of each output frame, int `[batch, frames]`.
      best_log_probs: its log-posterior, float `[batch, frames]`.
      lengths: frames of each utterance, int `[batch]`; frames beyond are ignored.
      blank_id: class of the blank.

    Returns:
      A `Hypothesis` for each utterance.
    """
    best_ids, best_log_probs, lengths = np.asarray(best_ids), np.asarray(best_log_probs), np.asarray(lengths)
    if best_ids.ndim != 2 or best_log_probs.shape != best_ids.shape or lengths.shape != best_ids.shape[:1]:
        raise ValueError(
            f'best_ids {best_ids.shape}, best_log_probs {best_log_probs.shape} and lengths {lengths.shape} '
            'must be [batch, frames], [batch, frames] and [batch]'
        )
    # one more column of blanks ends the last run of every row
    inside, padding = np.arange(best_ids.shape[1] + 1) < lengths[:, np.newaxis], ((0, 0), (0, 1))
    ids = np.where(inside, np.pad(best_ids, padding), blank_id)
    log_probs = np.where(inside, np.pad(best_log_probs.astype(np.float64), padding), 0.0)
    hypotheses = []
    for path, path_log_probs, total in zip(ids, log_probs, log_probs.sum(axis=1).tolist(), strict=True):
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        is_symbol = path[starts] != blank_id
        runs = starts, np.append(starts[1:], len(path)), np.add.reduceat(path_log_probs, starts)
        spans = tuple(map(Span, *(each[is_symbol].tolist() for each in runs)))
        hypotheses.append(Hypothesis(tuple(path[starts][is_symbol].tolist()), total, spans))
    return hypotheses


def attention_hypotheses(
    ids: np.ndarray, log_probs: np.ndarray, lengths: np.ndarray, end_log_probs: np.ndarray, is_cut: np.ndarray,
    weights: np.ndarray,
) -> list[SpelledHypothesis]:  # fmt: skip
    """Makes hypotheses of the outputs of an attention model that decodes greedily in its graph.

    Args:
      ids: symbols, int `[batch, symbols]`.
      log_probs: log-probabilities of the symbols, `[batch, symbols]`.
      lengths: symbols of each utterance, int `[batch]`.
      end_log_probs: log-probability of `<eos>`, `[batch]`; 0 where the limit came first.
      is_cut: bool `[batch]`, whether the limit came first.
      weights: attention, `[batch, symbols, frames]`.
    """
    hypotheses = []
    for row, length in enumerate(lengths.tolist()):
        seen = weights[row, :length]
        spans = make_spans(seen.argmax(1), seen.max(1, initial=0), log_probs[row, :length])
        text, log_prob = tuple(ids[row, :length].tolist()), float(log_probs[row, :length].sum() + end_log_probs[row])
        hypotheses.append(SpelledHypothesis(text, log_prob, spans, log_prob / (length + 1), bool(is_cut[row])))
    return hypotheses


class GreedyStream:
    """The best path of an utterance whose posteriors come frame by frame; its text is that of `best_paths`.

    Args:
      blank_id: class of the blank.
    """

    num_bytes = 0  # but for the text

    def __init__(self, blank_id: int):
        self._blank_id, self._last, self._num_frames, self._log_prob = blank_id, blank_id, 0, 0.0
        self._ids: list[int] = []
        self._spans: list[Span] = []

    def add(self, log_probs: np.ndarray) -> None:
        """Appends log-posteriors `[frames, classes]`."""
        for symbol, log_prob in zip(log_probs.argmax(1).tolist(), log_probs.max(1).tolist(), strict=True):
            self._log_prob += log_prob
            if symbol != self._blank_id and symbol == self._last:
                span = self._spans[-1]
                self._spans[-1] = Span(span.start_frame, self._num_frames + 1, span.log_prob + log_prob)
            elif symbol != self._blank_id:
                self._ids.append(symbol)
                self._spans.append(Span(self._num_frames, self._num_frames + 1, log_prob))
            self._last = symbol
            self._num_frames += 1

    def partial(self) -> Hypothesis:
        """The text so far."""
        return Hypothesis(tuple(self._ids), self._log_prob, tuple(self._spans))

    final = partial
