"""Selecting the largest of many numbers in linear time, at compiled speed."""

import numpy as np

from utils.jit import kernel


@kernel
def kth_largest(values: np.ndarray, count: int, k: int) -> float:
    """The k-th largest (from 1) of the first ``count`` values, which it reorders (Hoare's quickselect)."""
    low, high = 0, count - 1
    target = k - 1
    while low < high:
        first, middle, last = values[low], values[(low + high) >> 1], values[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if target <= right:
            high = right
        elif target >= left:
            low = left
        else:
            break
    return values[target]


@kernel
def pick_symbols(row: np.ndarray, blank_id: int, mass: float, symbols: np.ndarray, probs: np.ndarray) -> int:
    """Picks the most probable symbols of a frame until their probabilities, the blank's with them, reach ``mass``.

    Args:
      row: float `[symbols]`, the posteriors of the frame.
      blank_id: the blank, which is counted but not returned.
      mass: the sum to reach.
      symbols: gets the ids, the most probable first; no more than fit.
      probs: gets their probabilities.

    Returns:
      How many.
    """
    # all symbols below this one together are less than what may be left out
    least = (1.0 - mass) / len(row)
    count = 0
    for symbol in range(len(row)):
        prob = row[symbol]
        if symbol == blank_id or prob < least or (count == len(symbols) and prob <= probs[count - 1]):
            continue
        position = min(count, len(symbols) - 1)
        while position > 0 and probs[position - 1] < prob:
            symbols[position], probs[position] = symbols[position - 1], probs[position - 1]
            position -= 1
        symbols[position], probs[position] = symbol, prob
        count = min(count + 1, len(symbols))
    reached, blank_prob, counts_blank = 0.0, row[blank_id], True
    for position in range(count):
        if counts_blank and blank_prob >= probs[position]:
            reached += blank_prob
            counts_blank = False
        if reached >= mass:
            return position
        reached += probs[position]
    return count
