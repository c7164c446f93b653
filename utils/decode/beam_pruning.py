"""What the beam search need not look at: bounds on what a symbol can gain, and the cut below the best."""

import numpy as np

from utils.decode.beam_memory import TOTAL, Beam
from utils.decode.selection import kth_largest
from utils.jit import kernel
from utils.lm.scorer import CHAR, WORD, Scorer


@kernel
def set_bounds(fusion: Scorer, symbols: np.ndarray, probs: np.ndarray, bounds: np.ndarray) -> None:
    """Writes the most that the language model can multiply a weight with on each symbol.

    A word's end can gain any amount over the word's estimate; the space moves to the front, so that symbols
    with one bound follow one another in the order of their probability.
    """
    bounds[:] = 1.0
    if fusion.mode == CHAR or (fusion.mode == WORD and fusion.word_bonus > 0):
        bounds[:] = np.exp(fusion.word_bonus)
    for position in range(len(symbols)):
        if fusion.mode == WORD and symbols[position] == fusion.space_id:
            prob = probs[position]
            for later in range(position, 0, -1):
                symbols[later], probs[later] = symbols[later - 1], probs[later - 1]
            symbols[0], probs[0], bounds[0] = fusion.space_id, prob, np.inf
            break


@kernel
def open_slots(beam: Beam, size: int, probs: np.ndarray, bounds: np.ndarray, cut: float) -> int:
    """Writes the places of the prefixes that some symbol may lift above ``cut``, the best one first; their number."""
    highest = 0.0
    for position in range(len(probs)):
        highest = max(highest, probs[position] * bounds[position])
    slots, now = beam.slots, beam.now
    count, best = 0, 0.0
    for slot in range(size):
        total = now[slot, TOTAL]
        if total * highest > cut:
            slots[count] = slot
            if total > best:
                slots[0], slots[count] = slot, slots[0]
                best = total
            count += 1
    return count


@kernel
def keep_best(beam: Beam, count: int, width: int) -> tuple[int, float]:
    """Leaves the ``width`` best candidates; returns their number and the weight of the worst."""
    scratch, weights, factors, candidates = (
        beam.scratch,
        beam.candidate_weights,
        beam.candidate_factors,
        beam.candidates,
    )
    for position in range(count):
        scratch[position] = weights[position]
    cut = kth_largest(scratch, count, width)
    num_ties = width
    for position in range(count):
        num_ties -= weights[position] > cut
    kept = 0
    for position in range(count):
        if weights[position] > cut or (weights[position] == cut and num_ties > 0):
            num_ties -= weights[position] == cut
            weights[kept], factors[kept] = weights[position], factors[position]
            for column in range(candidates.shape[1]):
                candidates[kept, column] = candidates[position, column]
            kept += 1
    return kept, cut


@kernel
def cut_off(beam: Beam, size: int, count: int, floor: float) -> tuple[float, int]:
    """The weight that the best ``beam_width`` of prefixes and candidates reach, but at least ``floor``.

    Returns:
      The weight, and for how many that only just reach it there is room.
    """
    scratch, new, weights, width = beam.scratch, beam.new, beam.candidate_weights, len(beam.nodes)
    num_all = 0
    for slot in range(size):
        if new[slot, TOTAL] > floor:
            scratch[num_all] = new[slot, TOTAL]
            num_all += 1
    for position in range(count):
        if weights[position] > floor:
            scratch[num_all] = weights[position]
            num_all += 1
    if num_all <= width:
        return floor, width - num_all
    cut = kth_largest(scratch, num_all, width)
    num_ties = width
    for position in range(num_all):
        num_ties -= scratch[position] > cut
    return cut, num_ties
