"""Forced alignment: CTC's best path through the blank-extended symbols of a known text, in bounded memory.

The Viterbi algorithm over the states blank, symbol, blank, …, symbol, blank (Graves et al. 2006, section 4.1, with
maxima in place of sums). Back-pointers of all cells would take frames × states bytes: 16 GB for an hour with 45,000
symbols. Here the forward pass keeps the values of all states at the start of each block of frames only. The back trace
goes through the blocks from the last one, computing each again with back-pointers, over the states that the path can
come from: two per frame of the block. That takes 8 · states · frames / block + 2 · block² bytes, least at a block of
(2 · states · frames)^(1/3) frames: 62 MB for that hour, beside the posteriors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.decode.hypothesis import Span
from utils.jit import compiled, kernel


class ForcedAlignment(NamedTuple):
    """The best path of a text.

    Attributes:
      spans: frames of each symbol and the sum of their log-posteriors.
      log_prob: log-probability of the path, blanks included.
    """

    spans: tuple[Span, ...]
    log_prob: float


def block_frames(num_frames: int, num_symbols: int) -> int:
    """Frames per block that need the least memory."""
    return max(1, round((2 * num_frames * (2 * num_symbols + 1)) ** (1 / 3)))


def force_alignment(
    log_probs: np.ndarray, symbols: Sequence[int] | np.ndarray, blank_id: int, block: int = 0
) -> ForcedAlignment | None:
    """Finds the most probable alignment of a text to log-posteriors.

    Args:
      log_probs: log-posteriors, float `[frames, classes]`.
      symbols: symbols of the text.
      blank_id: class of the blank.
      block: frames per block, at least 1; 0: `block_frames`. The path does not depend on it.

    Returns:
      The alignment; None where the frames are too few for the symbols, or all paths have a probability of 0.
    """
    ids = np.asarray(symbols, np.int64)
    num_frames = len(log_probs)
    if num_frames < len(ids) + int((ids[1:] == ids[:-1]).sum()):
        return None
    path, log_prob = _best_path(log_probs, ids, blank_id, block or block_frames(num_frames, len(ids)))
    if log_prob == -np.inf:
        return None
    is_symbol = path % 2 == 1
    frames, positions = np.flatnonzero(is_symbol), path[is_symbol] // 2
    starts = frames[np.searchsorted(positions, np.arange(len(ids)))]
    ends = frames[np.searchsorted(positions, np.arange(len(ids)), side='right') - 1] + 1
    on_path = log_probs[frames, ids[positions]].astype(np.float64)
    scores = np.bincount(positions, weights=on_path, minlength=len(ids))
    spans = tuple(map(Span, starts.tolist(), ends.tolist(), scores.tolist()))
    return ForcedAlignment(spans, float(log_prob))


@kernel
def _advance(values, row, symbols, blank_id, low, high, moves):
    """Values of the states ``low <= state <= high`` one frame on, in place; ``moves[state - low]`` the steps taken."""
    for state in range(high, low - 1, -1):
        is_symbol = state & 1
        symbol = symbols[state >> 1] if is_symbol else blank_id
        value, move = values[state], 0
        if state > low and values[state - 1] > value:
            value, move = values[state - 1], 1
        if is_symbol and state > low + 1 and symbols[(state >> 1) - 1] != symbol and values[state - 2] > value:
            value, move = values[state - 2], 2
        values[state] = value + row[symbol]
        if len(moves):
            moves[state - low] = move


@compiled
def _best_path(log_probs: np.ndarray, symbols: np.ndarray, blank_id: int, block: int) -> tuple[np.ndarray, float]:
    """State of each frame on the best path, int64 `[frames]`, and its log-probability."""
    num_states, num_frames = 2 * len(symbols) + 1, len(log_probs)
    path = np.zeros(num_frames, np.int64)
    starts = np.full(((num_frames + block - 1) // block, num_states), -np.inf)
    values = np.full(num_states, -np.inf)
    values[0] = 0.0
    no_moves = np.zeros(0, np.uint8)
    for frame in range(num_frames):
        if frame % block == 0:
            starts[frame // block] = values
        high = min(num_states - 1, 2 * frame + 1)
        # states below cannot reach the end any more; those that a reachable one comes from are among them
        low = max(0, num_states - 2 - 2 * (num_frames - frame))
        _advance(values, log_probs[frame], symbols, blank_id, low, high, no_moves)
    state = num_states - 1
    if state > 0 and values[state - 1] > values[state]:
        state -= 1
    log_prob = values[state]
    for number in range(len(starts) - 1, -1, -1):
        first, last = number * block, min(num_frames, (number + 1) * block)
        low, high = max(0, state - 2 * (last - first)), state
        moves = np.zeros((last - first, high - low + 1), np.uint8)
        for frame in range(first, last):
            reached = min(high, 2 * frame + 1)
            _advance(starts[number], log_probs[frame], symbols, blank_id, low, reached, moves[frame - first])
        for frame in range(last - 1, first - 1, -1):
            path[frame] = state
            state -= moves[frame - first, state - low]
    return path, log_prob
