"""CTC prefix beam search at compiled speed: the frame loop of `beam.decode`.

Prefixes are nodes of a tree that holds each prefix once, so that all alignments of one meet in it, also
when it comes back after it had left the beam. Of each prefix in the beam two weights are kept, of the
alignments that end in a blank and of those that end in its last symbol; both are

    p(alignments | x) * exp(lm_weight * log P_LM + word_bonus * words)

as plain products, divided by the best weight at every frame. The recursions are linear in them, so no
logarithm or exponential is taken but once for each new prefix. Work goes by what can still get into the
beam: the best prefix comes first, the symbols of a frame are tried in the order of their probability, and a prefix
stops at the first that would end below the worst of a full beam, or further below the best than the threshold.
"""

import numpy as np

from utils.decode.beam_memory import (
    BLANK,
    C_LEXICON,
    C_STATE,
    C_SYMBOL,
    CHILD,
    ENDS,
    FIRST_CHILD,
    LEXICON,
    NEXT_SIBLING,
    NODE,
    PARENT,
    SLOT,
    STATE,
    SYMBOL,
    TOTAL,
    Beam,
    add_node,
    ask,
    make_beam,
    memo_entry,
    spell,
)
from utils.decode.beam_pruning import cut_off, keep_best, open_slots, set_bounds
from utils.decode.selection import pick_symbols
from utils.jit import compiled, kernel
from utils.lm.scorer import AT_ROOT, Scorer, finish, fused


@kernel
def _stay(beam: Beam, size: int, row: np.ndarray, blank_id: int) -> tuple[float, float]:
    """The new weights of the prefixes in the beam; returns the best and the worst total.

    A prefix goes on by a blank, by its last symbol again, and from its parent, where that is in the beam too.
    """
    tree, factors, nodes, now, new = beam.tree, beam.factors, beam.nodes, beam.now, beam.new
    blank_prob = np.float64(row[blank_id])
    best, worst = 0.0, np.inf
    for slot in range(size):
        node = nodes[slot]
        symbol = tree[node, SYMBOL]
        by_blank = now[slot, TOTAL] * blank_prob
        by_symbol = 0.0
        if symbol >= 0:
            by_symbol = now[slot, ENDS]
            parent = tree[node, PARENT]
            above = tree[parent, SLOT]
            if above >= 0:
                # after the same symbol only a blank makes a second one of it
                by_symbol += now[above, BLANK if tree[parent, SYMBOL] == symbol else TOTAL] * factors[node]
            by_symbol *= row[symbol]
        total = by_blank + by_symbol
        new[slot, BLANK], new[slot, ENDS], new[slot, TOTAL] = by_blank, by_symbol, total
        best, worst = max(best, total), min(worst, total)
    return best, worst


@kernel
def _extend(
    beam: Beam, size: int, symbols: np.ndarray, probs: np.ndarray, bounds: np.ndarray, cut: float,
    relative_floor: float, fusion: Scorer,
) -> int:  # fmt: skip
    """Collects the prefixes one symbol longer than those in the beam whose weights exceed ``cut``.

    Args:
      beam: the beam.
      size: the prefixes in it.
      symbols: the symbols to try, the most probable first.
      probs: their probabilities.
      bounds: the most that the language model can multiply a weight with on each.
      cut: what does not exceed it is not worth looking at.
      relative_floor: nor is what does not exceed this share of the best.
      fusion: the language model.

    Returns:
      The number of candidates.
    """
    tree, nodes, now, factors, candidates = beam.tree, beam.nodes, beam.now, beam.factors, beam.candidates
    weights, candidate_factors = beam.candidate_weights, beam.candidate_factors
    memo = beam.memo_factors
    count = 0
    for place in range(open_slots(beam, size, probs, bounds, cut)):
        slot = beam.slots[place]
        node, total = nodes[slot], now[slot, TOTAL]
        for position in range(len(symbols)):
            if total * probs[position] * bounds[position] <= cut:
                break
            symbol = symbols[position]
            # after the same symbol only a blank makes a second one of it
            weight = probs[position] * (now[slot, BLANK] if symbol == tree[node, SYMBOL] else total)
            child = tree[node, FIRST_CHILD]
            while child >= 0 and tree[child, SYMBOL] != symbol:
                child = tree[child, NEXT_SIBLING]
            entry = np.int64(-1)
            if child < 0:
                entry = memo_entry(node, symbol)
                if not ask(beam, node, symbol, weight, cut, fusion):
                    continue
            elif tree[child, SLOT] >= 0:
                continue  # `_stay` has done it
            factor = factors[child] if child >= 0 else memo[entry]
            weight *= factor
            if weight > cut and count == len(weights):
                count, cut = keep_best(beam, count, len(nodes))
            if weight > cut:
                weights[count], candidate_factors[count] = weight, factor
                candidates[count, NODE], candidates[count, C_SYMBOL], candidates[count, CHILD] = node, symbol, child
                if child < 0:
                    candidates[count, C_STATE] = beam.memo_states[entry, 0]
                    candidates[count, C_LEXICON] = beam.memo_states[entry, 1]
                count += 1
                cut = max(cut, weight * relative_floor)
    return count


@kernel
def _renew(
    beam: Beam, size: int, count: int, cut: float, num_ties: int, scale: float, num_nodes: int
) -> tuple[int, int]:
    """Takes what reaches ``cut`` into the beam, weights times ``scale``; returns the sizes of the beam and the tree."""
    tree, nodes, now, new = beam.tree, beam.nodes, beam.now, beam.new
    candidates, weights = beam.candidates, beam.candidate_weights
    kept = 0
    for slot in range(size):
        node, total = nodes[slot], new[slot, TOTAL]
        if total > cut or (total == cut and num_ties > 0):
            num_ties -= total == cut
            nodes[kept] = node
            for column in range(3):
                now[kept, column] = new[slot, column] * scale
            tree[node, SLOT] = kept
            kept += 1
        else:
            tree[node, SLOT] = -1
    for position in range(count):
        total = weights[position]
        if total < cut or (total == cut and num_ties <= 0):
            continue
        num_ties -= total == cut
        node = candidates[position, CHILD]
        if node < 0:
            node = num_nodes
            add_node(beam, node, position)
            num_nodes += 1
        nodes[kept] = node
        now[kept, BLANK], now[kept, ENDS], now[kept, TOTAL] = 0.0, total * scale, total * scale
        tree[node, SLOT] = kept
        kept += 1
    return kept, num_nodes


@compiled
def search(
    probs: np.ndarray, blank_id: int, beam_width: int, symbol_mass: float, symbol_limit: int, threshold: float,
    fusion: Scorer, num_results: int,
) -> list[np.ndarray]:  # fmt: skip
    """Finds the best texts of one utterance.

    Args:
      probs: float32 `[frames, symbols]`, the posteriors, none of them 0.
      blank_id: the id of the blank.
      beam_width: prefixes kept at a frame.
      symbol_mass: the most probable symbols of a frame are tried until their sum reaches it.
      symbol_limit: how many symbols are tried at most.
      threshold: natural log; a prefix whose weight is further below the best one's leaves the beam.
      fusion: the language model.
      num_results: how many texts to return at most.

    Returns:
      The ids of each text, the best first. At least one.
    """
    beam = make_beam(len(probs), beam_width, fusion)
    symbols, symbol_probs, bounds = np.empty(symbol_limit, np.int64), np.empty(symbol_limit), np.empty(symbol_limit)
    relative_floor = np.exp(-threshold)
    size, num_nodes = 1, 1
    for frame in range(len(probs)):
        row = probs[frame]
        num_symbols = pick_symbols(row, blank_id, symbol_mass, symbols, symbol_probs)
        set_bounds(fusion, symbols[:num_symbols], symbol_probs[:num_symbols], bounds[:num_symbols])
        best, worst = _stay(beam, size, row, blank_id)
        cut = max(best * relative_floor, worst if size == beam_width else 0.0)
        count = _extend(
            beam,
            size,
            symbols[:num_symbols],
            symbol_probs[:num_symbols],
            bounds[:num_symbols],
            cut,
            relative_floor,
            fusion,
        )
        for position in range(count):
            best = max(best, beam.candidate_weights[position])
        cut, num_ties = cut_off(beam, size, count, best * relative_floor)
        size, num_nodes = _renew(beam, size, count, cut, num_ties, 1.0 / best, num_nodes)
    return _results(beam, size, fusion, num_results)


@compiled
def _results(beam: Beam, size: int, fusion: Scorer, num_results: int) -> list[np.ndarray]:
    nodes, scores = beam.nodes[:size].copy(), np.empty(size)
    for slot in range(size):
        log_prob = finish(fusion, beam.tree[nodes[slot], STATE], beam.tree[nodes[slot], LEXICON])
        scores[slot] = np.log(beam.now[slot, TOTAL]) + fused(fusion, log_prob, 0)
    if scores.max() == -np.inf:  # every prefix ends within a word that must not end there: drop those words
        for slot in range(size):
            scores[slot] = np.log(beam.now[slot, TOTAL])
            while beam.tree[nodes[slot], LEXICON] != AT_ROOT:
                nodes[slot] = beam.tree[nodes[slot], PARENT]
    results = [np.empty(0, np.int64) for _ in range(0)]
    for slot in np.argsort(-scores)[:num_results]:
        if scores[slot] > -np.inf:
            results.append(spell(beam.tree, nodes[slot]))
    return results
