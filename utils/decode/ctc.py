"""CTC of posteriors: greedy decoding, the exact probability of a given text, and its best alignment."""

import numpy as np

from utils.decode.hypothesis import Hypothesis, Span
from utils.jit import compiled

# What is below this share of a frame's total is left out, which with peaked posteriors is most of a text. It can't
# come to more than this share of 1 in the end, which is nothing beside a result that is much larger.
NEGLIGIBLE = 1e-150
LEAST_SURE_LOG_PROB = -300.0


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


@compiled
def ctc_log_prob(probs: np.ndarray, symbols: np.ndarray, blank_id: int) -> float:
    """log p(symbols | x), summed over all alignments (the forward recursion, rescaled at every frame).

    Args:
      probs: float `[frames, symbols]`, the posteriors.
      symbols: int `[length]`, the text.
      blank_id: the id of the blank.

    Returns:
      The log probability; -inf where the frames are too few.
    """
    log_prob = _forward(probs, symbols, blank_id, NEGLIGIBLE)
    return log_prob if log_prob > LEAST_SURE_LOG_PROB else _forward(probs, symbols, blank_id, 0.0)


@compiled
def _forward(probs: np.ndarray, symbols: np.ndarray, blank_id: int, negligible: float) -> float:
    """The forward recursion over the positions ``low <= position < high`` that are not negligible."""
    length, num_frames = len(symbols), len(probs)
    # of the alignments so far that end in the symbol at a position, and in the blank before it
    ends, blanks = np.zeros(length + 1), np.zeros(length + 1)
    blanks[0] = 1.0
    log_scale, low, high = 0.0, 0, 0
    for frame in range(num_frames):
        row = probs[frame]
        low = max(low, length - (num_frames - frame))  # what lies before can't reach the end any more
        high = min(length, high + 1)
        total = 0.0
        for position in range(high - 1, low - 1, -1):
            symbol = symbols[position]
            blanks[position + 1] = (blanks[position + 1] + ends[position]) * row[blank_id]
            weight = ends[position] + blanks[position]
            if position > 0 and symbols[position - 1] != symbol:
                weight += ends[position - 1]
            ends[position] = weight * row[symbol]
            total += ends[position] + blanks[position + 1]
        blanks[low] = (blanks[low] + (ends[low - 1] if low > 0 else 0.0)) * row[blank_id]
        total += blanks[low]
        if total <= 0.0:
            return -np.inf
        least = total * negligible
        while low < high and ends[low] + blanks[low] < least:
            ends[low] = blanks[low] = 0.0
            low += 1
        while high > low and ends[high - 1] + blanks[high] < least:
            ends[high - 1] = blanks[high] = 0.0
            high -= 1
        scale = 1.0 / total
        log_scale += np.log(total)
        for position in range(max(low - 1, 0), high + 1):
            ends[position] *= scale
            blanks[position] *= scale
    total = blanks[length] + (ends[length - 1] if length else 0.0)
    return log_scale + np.log(total) if total > 0 else -np.inf


@compiled
def best_alignment(
    log_probs: np.ndarray, symbols: np.ndarray, blank_id: int, spans: np.ndarray, scores: np.ndarray
) -> bool:
    """The most probable alignment of a text.

    Args:
      log_probs: float `[frames, symbols]`, the log posteriors.
      symbols: int `[length]`, the text.
      blank_id: the id of the blank.
      spans: int `[length, 2]`: gets the first frame of each symbol and the one after its last.
      scores: float `[length]`: gets the sum of the log posteriors of these frames.

    Returns:
      False where the frames are too few.
    """
    num_states, num_frames = 2 * len(symbols) + 1, len(log_probs)
    moves = np.zeros((num_frames, num_states), np.uint8)
    values = np.full(num_states, -np.inf)
    values[0] = 0.0
    for frame in range(num_frames):
        row = log_probs[frame]
        for state in range(min(num_states - 1, 2 * frame + 1), -1, -1):
            is_symbol = state & 1
            symbol = symbols[state >> 1] if is_symbol else blank_id
            value, move = values[state], 0
            if state > 0 and values[state - 1] > value:
                value, move = values[state - 1], 1
            if is_symbol and state > 1 and symbols[(state >> 1) - 1] != symbol and values[state - 2] > value:
                value, move = values[state - 2], 2
            values[state], moves[frame, state] = value + row[symbol], move
    state = num_states - 1
    if state > 0 and values[state - 1] > values[state]:
        state -= 1
    if values[state] == -np.inf:
        return False
    scores[:] = 0.0
    spans[:, 1] = 0
    for frame in range(num_frames - 1, -1, -1):
        if state & 1:
            position = state >> 1
            spans[position, 0] = frame
            spans[position, 1] = max(spans[position, 1], frame + 1)
            scores[position] += log_probs[frame, symbols[position]]
        state -= moves[frame, state]
    return True
