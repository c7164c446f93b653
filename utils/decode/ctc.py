"""CTC of a given text, compiled: its exact probability, and its best alignment."""

import numpy as np

from utils.jit import compiled

# Positions below this share of a frame's total are left out: with peaked posteriors, most of a text. In the end they
# come to no more than this share of 1, which is nothing beside a result that is much larger.
NEGLIGIBLE = 1e-150
LEAST_SURE_LOG_PROB = -300.0


@compiled
def ctc_log_prob(probs: np.ndarray, symbols: np.ndarray, blank_id: int) -> float:
    """log p(text | x), over all alignments, from posteriors `[frames, classes]`; -inf where the frames are too few.

    The forward recursion (Graves et al. 2006, section 4.1), rescaled at every frame.
    """
    log_prob = _forward(probs, symbols, blank_id, NEGLIGIBLE)
    return log_prob if log_prob > LEAST_SURE_LOG_PROB else _forward(probs, symbols, blank_id, 0.0)


@compiled
def _forward(probs: np.ndarray, symbols: np.ndarray, blank_id: int, negligible: float) -> float:
    """The forward recursion over the positions ``low <= position < high`` that are not negligible."""
    length, num_frames = len(symbols), len(probs)
    # probabilities of the alignments so far that end in the symbol at a position, and in the blank before it
    ends, blanks = np.zeros(length + 1), np.zeros(length + 1)
    blanks[0] = 1.0
    log_scale, low, high = 0.0, 0, 0
    for frame in range(num_frames):
        row = probs[frame]
        low = max(low, length - (num_frames - frame))  # earlier positions cannot reach the end any more
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
def best_alignment(log_probs: np.ndarray, symbols: np.ndarray, blank_id: int) -> tuple[np.ndarray, np.ndarray]:
    """The most probable alignment of a text to log-posteriors `[frames, classes]`, by the Viterbi algorithm.

    Returns:
      The first frame of each symbol and the one after its last, int64 `[length, 2]`; the sums of the log-posteriors of
      these frames, `[length]`. Both are 0 where the frames are too few.
    """
    spans, scores = np.zeros((len(symbols), 2), np.int64), np.zeros(len(symbols))
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
        return spans, scores
    for frame in range(num_frames - 1, -1, -1):
        if state & 1:
            position = state >> 1
            spans[position, 0] = frame
            spans[position, 1] = max(spans[position, 1], frame + 1)
            scores[position] += log_probs[frame, symbols[position]]
        state -= moves[frame, state]
    return spans, scores
