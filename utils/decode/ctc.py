"""Greedy CTC decoding: the best path, merged and without blanks, and where on it each symbol stood."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


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


def greedy(best_ids: np.ndarray, best_log_probs: np.ndarray, lengths: np.ndarray, blank_id: int) -> list[Hypothesis]:
    """Decodes best paths: a run of one symbol counts once, blanks count for nothing.

    Args:
      best_ids: int `[batch, frames]`, the most probable symbol of each output frame.
      best_log_probs: float `[batch, frames]`, its log posterior.
      lengths: int `[batch]`, the frames of each utterance; what lies beyond is not looked at.
      blank_id: the id of the blank.

    Returns:
      A `Hypothesis` for each utterance.
    """
    best_ids, best_log_probs, lengths = np.asarray(best_ids), np.asarray(best_log_probs), np.asarray(lengths)
    if best_ids.ndim != 2 or best_log_probs.shape != best_ids.shape or lengths.shape != best_ids.shape[:1]:
        raise ValueError(
            f'best_ids {best_ids.shape}, best_log_probs {best_log_probs.shape} and lengths {lengths.shape} '
            'must be [batch, frames], [batch, frames] and [batch]'
        )
    batch, frames = best_ids.shape
    if not batch:
        return []
    inside = np.arange(frames) < lengths[:, np.newaxis]
    # one more column of blanks, so that every run of a symbol ends before its row does
    ids = np.full((batch, frames + 1), blank_id, dtype=np.int64)
    ids[:, :frames] = np.where(inside, best_ids, blank_id)
    log_probs = np.zeros((batch, frames + 1))
    log_probs[:, :frames] = np.where(inside, best_log_probs, 0.0)

    is_start = np.ones_like(ids, dtype=bool)
    is_start[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.flatnonzero(is_start)
    ends = np.append(starts[1:], ids.size)
    run_log_probs = np.add.reduceat(log_probs.ravel(), starts)
    rows, symbols = starts // (frames + 1), ids.ravel()[starts]

    keep = symbols != blank_id
    rows, symbols, run_log_probs = rows[keep], symbols[keep].tolist(), run_log_probs[keep].tolist()
    first_of_row = rows * (frames + 1)
    start_frames, end_frames = (starts[keep] - first_of_row).tolist(), (ends[keep] - first_of_row).tolist()
    spans = list(map(Span, start_frames, end_frames, run_log_probs))
    bounds = np.searchsorted(rows, np.arange(batch + 1)).tolist()
    totals = log_probs.sum(axis=1).tolist()
    return [
        Hypothesis(tuple(symbols[low:high]), total, tuple(spans[low:high]))
        for low, high, total in zip(bounds[:-1], bounds[1:], totals, strict=True)
    ]


def greedy_of_posteriors(log_probs: np.ndarray, lengths: np.ndarray, blank_id: int) -> list[Hypothesis]:
    """The same from the log posteriors of all symbols, `[batch, frames, symbols]`."""
    best_ids = log_probs.argmax(axis=2)
    best_log_probs = np.take_along_axis(log_probs, best_ids[..., np.newaxis], axis=2)[..., 0]
    return greedy(best_ids, best_log_probs, lengths, blank_id)


def confidence(spans: Sequence[Span]) -> float:
    """The geometric mean of the posteriors of the spans' frames, in [0, 1]; 0 when there are none.

    Blanks between the symbols are left out: a blank is nearly always certain, and long words would
    look surer than short ones.
    """
    num_frames = sum(span.end_frame - span.start_frame for span in spans)
    if not num_frames:
        return 0.0
    return min(1.0, math.exp(sum(span.log_prob for span in spans) / num_frames))


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

    Returns:
      The words in order.
    """
    groups: list[list[int]] = [[]]
    for position, symbol in enumerate(hypothesis.ids):
        if space_id is None:
            groups.append([position])
        elif symbol == space_id:
            groups.append([])
        else:
            groups[-1].append(position)
    return [
        Word(
            ''.join(tokens[hypothesis.ids[position]] for position in group),
            offset_secs + hypothesis.frames[group[0]].start_frame * secs_per_frame,
            offset_secs + hypothesis.frames[group[-1]].end_frame * secs_per_frame,
            confidence([hypothesis.frames[position] for position in group]),
        )
        for group in groups
        if group
    ]
