"""The memory of the beam search: the tree of prefixes, and which of them are in the beam."""

from typing import NamedTuple

import numpy as np

from utils.jit import compiled, kernel
from utils.lm.scorer import AT_ROOT, WORD, Scorer, closing_bound, follow, fused

PARENT, SYMBOL, FIRST_CHILD, NEXT_SIBLING, SLOT, STATE, LEXICON = range(7)
NUM_COLUMNS = 8  # of 8 bytes: a node fills a cache line
MEMO_BITS = 13  # 8192 entries of 32 bytes: several times what a frame asks for, and little to clear
NODE, C_SYMBOL, CHILD, C_STATE, C_LEXICON = range(5)
BLANK, ENDS, TOTAL = range(3)


class Beam(NamedTuple):
    """The search's memory.

    Attributes:
      tree: int64 `[max_nodes, NUM_COLUMNS]`: the prefixes; SLOT is the place in the beam, -1 outside it.
      factors: float64 `[max_nodes]`, what the language model multiplies a prefix's weight with on its last symbol.
      nodes: int64 `[beam_width]`, the prefixes in the beam.
      now, new: float64 `[beam_width, 3]`, their weights before and after the frame: BLANK, ENDS (in the last
        symbol) and TOTAL, the sum.
      candidates: int64 `[capacity, 5]`, prefixes that may enter: NODE (that they extend), C_SYMBOL, CHILD (their own
        node, -1 where it has to be made), and the language model's state there.
      candidate_weights, candidate_factors: float64 `[capacity]`.
      slots: int64 `[beam_width]`, the places in the beam from which a frame goes on.
      scratch: float64 `[capacity + beam_width]`.
      memo_keys, memo_factors, memo_states: what the language model said of a node and a symbol, at a place that
        depends on both: the same ones are asked for at frame after frame.
    """

    tree: np.ndarray
    factors: np.ndarray
    nodes: np.ndarray
    now: np.ndarray
    new: np.ndarray
    candidates: np.ndarray
    candidate_weights: np.ndarray
    candidate_factors: np.ndarray
    slots: np.ndarray
    scratch: np.ndarray
    memo_keys: np.ndarray
    memo_factors: np.ndarray
    memo_states: np.ndarray


@compiled
def make_beam(num_frames: int, beam_width: int, fusion: Scorer) -> Beam:
    """A beam that holds the empty prefix."""
    max_nodes = num_frames * beam_width + 1
    capacity = 2 * beam_width
    beam = Beam(
        np.empty((max_nodes, NUM_COLUMNS), np.int64),
        np.empty(max_nodes),
        np.zeros(beam_width, np.int64),
        np.zeros((beam_width, 3)),
        np.zeros((beam_width, 3)),
        np.empty((capacity, 5), np.int64),
        np.empty(capacity),
        np.empty(capacity),
        np.empty(beam_width, np.int64),
        np.empty(capacity + beam_width),
        np.full(1 << MEMO_BITS, -1, np.int64),
        np.empty(1 << MEMO_BITS),
        np.empty((1 << MEMO_BITS, 2), np.int64),
    )
    write_node(beam, 0, 0, -1, np.int64(fusion.start_state), AT_ROOT, 1.0)
    beam.tree[0, SLOT] = 0
    beam.now[0, BLANK] = 1.0
    beam.now[0, TOTAL] = 1.0
    return beam


@kernel
def write_node(beam: Beam, node: int, parent: int, symbol: int, state: int, lexicon_node: int, factor: float) -> None:
    """Makes a node of the tree, which is not in the beam yet and has no children."""
    tree = beam.tree
    tree[node, PARENT], tree[node, SYMBOL], tree[node, FIRST_CHILD], tree[node, NEXT_SIBLING] = parent, symbol, -1, -1
    tree[node, SLOT], tree[node, STATE], tree[node, LEXICON] = -1, state, lexicon_node
    beam.factors[node] = factor


@kernel
def add_node(beam: Beam, node: int, position: int) -> None:
    """Makes the node of the candidate at ``position``."""
    tree, row = beam.tree, beam.candidates[position]
    parent = row[NODE]
    write_node(beam, node, parent, row[C_SYMBOL], row[C_STATE], row[C_LEXICON], beam.candidate_factors[position])
    tree[node, NEXT_SIBLING] = tree[parent, FIRST_CHILD]
    tree[parent, FIRST_CHILD] = node


@kernel
def memo_key(node: int, symbol: int) -> int:
    """What tells a node and a symbol from others."""
    return (np.int64(node) << 20) | np.int64(symbol)


@kernel
def memo_entry(node: int, symbol: int) -> int:
    """Their place in the memo."""
    key = np.uint64(memo_key(node, symbol))
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - MEMO_BITS))


@kernel
def ask(beam: Beam, node: int, symbol: int, weight: float, cut: float, fusion: Scorer) -> bool:
    """Sees to it that the memo holds what the language model says of a node with one more symbol.

    False, and nothing written, for a space whose word cannot lift ``weight`` above ``cut``.
    """
    entry = memo_entry(node, symbol)
    if beam.memo_keys[entry] == memo_key(node, symbol):
        return True
    is_end = fusion.mode == WORD and symbol == fusion.space_id
    if is_end and weight * closing_bound(fusion, beam.tree[node, LEXICON]) <= cut:
        return False
    log_prob, begun, state, lexicon_node = follow(fusion, beam.tree[node, STATE], beam.tree[node, LEXICON], symbol)
    beam.memo_keys[entry] = memo_key(node, symbol)
    beam.memo_factors[entry] = np.exp(fused(fusion, log_prob, begun))
    beam.memo_states[entry, 0], beam.memo_states[entry, 1] = state, lexicon_node
    return True


@compiled
def spell(tree: np.ndarray, node: int) -> np.ndarray:
    length, ancestor = 0, node
    while ancestor > 0:
        length += 1
        ancestor = tree[ancestor, PARENT]
    symbols = np.empty(length, np.int64)
    while node > 0:
        length -= 1
        symbols[length] = tree[node, SYMBOL]
        node = tree[node, PARENT]
    return symbols
