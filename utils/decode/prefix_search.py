"""CTC prefix beam search, compiled: the frame loop of `ctc_beam.decode`.

Prefixes are nodes of a tree that holds each prefix once, so that its alignments are merged even if it returns after it
had left the beam. Each prefix in the beam has two weights, of the alignments that end in a blank and of those that end
in its last symbol; both are

    p(alignments | x) * exp(lm_weight * log P_LM + word_bonus * words + boost of hot words)

as plain products, divided by the best weight at every frame. The recursions are linear in them, so an exponential is
taken for a new prefix alone. A symbol is skipped if the prefix with it would fall below the worst of a full beam, or
further below the best than the threshold, whatever the language model and the hot words add.
"""

from typing import NamedTuple

import numpy as np

from utils.jit import compiled, kernel
from utils.lm.context_graph import end, step
from utils.lm.scorer import AT_ROOT, CHAR, WORD, Scorer, closing_bound, finish, follow, fused

PARENT, SYMBOL, FIRST_CHILD, NEXT_SIBLING, SLOT, STATE, LEXICON, CONTEXT = range(8)
NUM_COLUMNS = 8  # of 8 bytes: a node fills a cache line
NODE, C_SYMBOL, CHILD, C_STATE, C_LEXICON, C_CONTEXT = range(6)
MEMO_SIZE = 1 << 13  # several times as many as a frame asks for
BLANK, ENDS, TOTAL = range(3)
SIZE, NUM_NODES = range(2)


class Beam(NamedTuple):
    """Memory of the search: the tree of prefixes, and which of them are in the beam.

    Attributes:
      tree: int64 `[max_nodes, NUM_COLUMNS]`, the prefixes; SLOT is the place in the beam, -1 outside it.
      factors: float64 `[max_nodes]`, factor of language model and hot words for the last symbol of a prefix.
      nodes: int64 `[beam_width]`, the prefixes in the beam.
      now, new: float64 `[beam_width, 3]`, their weights before and after the frame: BLANK, ENDS (in the last
        symbol) and TOTAL, the sum.
      candidates: int64 `[capacity, 6]`, prefixes that may enter: NODE (that they extend), C_SYMBOL, CHILD (their own
        node, -1 if it is new), and the states of language model and hot words there.
      candidate_weights, candidate_factors: float64 `[capacity]`.
      scratch: float64 `[capacity + beam_width]`.
      memo_keys, memo_factors: int64 and float64 `[MEMO_SIZE]`, the factors for prefixes outside the tree, since many
        are tried frame after frame.
      counts: int64 `[2]`: SIZE, prefixes in the beam, and NUM_NODES, nodes in the tree.
      symbols, symbol_probs: int64 and float64 `[symbol_limit]`, symbols that are tried at a frame.
    """

    tree: np.ndarray
    factors: np.ndarray
    nodes: np.ndarray
    now: np.ndarray
    new: np.ndarray
    candidates: np.ndarray
    candidate_weights: np.ndarray
    candidate_factors: np.ndarray
    scratch: np.ndarray
    memo_keys: np.ndarray
    memo_factors: np.ndarray
    counts: np.ndarray
    symbols: np.ndarray
    symbol_probs: np.ndarray


@compiled
def make_beam(num_frames: int, beam_width: int, symbol_limit: int, scorer: Scorer) -> Beam:
    """A beam that holds the empty prefix, with room in its tree for this number of frames."""
    max_nodes, capacity = num_frames * beam_width + 1, beam_width * symbol_limit
    beam = Beam(
        np.empty((max_nodes, NUM_COLUMNS), np.int64), np.ones(max_nodes), np.zeros(beam_width, np.int64),
        np.zeros((beam_width, 3)), np.zeros((beam_width, 3)), np.empty((capacity, 6), np.int64), np.empty(capacity),
        np.empty(capacity), np.empty(beam_width + capacity), np.full(MEMO_SIZE, -1), np.empty(MEMO_SIZE),
        np.ones(2, np.int64), np.empty(symbol_limit, np.int64), np.empty(symbol_limit),
    )  # fmt: skip
    beam.tree[0] = -1  # no parent, symbol or children
    beam.tree[0, SLOT], beam.tree[0, STATE], beam.tree[0, LEXICON] = 0, scorer.start_state, AT_ROOT
    beam.tree[0, CONTEXT] = scorer.hotwords.start
    beam.now[0, BLANK] = beam.now[0, TOTAL] = 1.0
    return beam


@kernel
def add_node(beam: Beam, node: int, position: int) -> None:
    """Adds the node of the candidate at ``position`` to the tree."""
    tree, row = beam.tree, beam.candidates[position]
    parent = row[NODE]
    tree[node, PARENT], tree[node, SYMBOL], tree[node, FIRST_CHILD] = parent, row[C_SYMBOL], -1
    tree[node, STATE], tree[node, LEXICON], tree[node, CONTEXT] = row[C_STATE], row[C_LEXICON], row[C_CONTEXT]
    tree[node, NEXT_SIBLING], tree[parent, FIRST_CHILD] = tree[parent, FIRST_CHILD], node
    beam.factors[node] = beam.candidate_factors[position]


@compiled
def spell(tree: np.ndarray, node: int) -> np.ndarray:
    """The symbols of a prefix, int64 `[length]`."""
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


@kernel
def kth_largest(values: np.ndarray, count: int, k: int) -> tuple[float, int]:
    """The k-th largest (from 1) of the first ``count`` values, which it reorders, by Hoare's quickselect.

    Returns:
      The value, and how many of the k largest are equal to it.
    """
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
    num_ties = 0
    for position in range(k):
        num_ties += values[position] == values[target]
    return values[target], num_ties


@kernel
def pick_symbols(row: np.ndarray, blank_id: int, mass: float, symbols: np.ndarray, probs: np.ndarray) -> int:
    """Picks the most probable symbols of a frame until their probabilities, the blank's included, reach ``mass``.

    Args:
      row: posteriors of the frame, float `[classes]`.
      blank_id: class of the blank, which is counted but not returned.
      mass: sum of probabilities to reach.
      symbols: output, the ids, the most probable first; no more than fit.
      probs: output, their probabilities.

    Returns:
      Their number.
    """
    # all symbols less probable than this together may be left out
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


@kernel
def cut_off(beam: Beam, size: int, count: int, floor: float) -> tuple[float, int]:
    """The weight that the best ``beam_width`` of prefixes and candidates reach, but at least ``floor``.

    Returns:
      The weight, and how many that are equal to it fit in the beam.
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
    return kth_largest(scratch, num_all, width) if num_all > width else (floor, width - num_all)


@kernel
def _stay(beam: Beam, size: int, row: np.ndarray, blank_id: int) -> tuple[float, float]:
    """Computes the new weights of the prefixes in the beam; returns the best and the worst total.

    The alignments of a prefix continue with a blank or its last symbol; those of its parent, if in the beam, join them.
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
                # a repeated symbol needs a blank between
                by_symbol += now[above, BLANK if tree[parent, SYMBOL] == symbol else TOTAL] * factors[node]
            by_symbol *= row[symbol]
        total = by_blank + by_symbol
        new[slot, BLANK], new[slot, ENDS], new[slot, TOTAL] = by_blank, by_symbol, total
        best, worst = max(best, total), min(worst, total)
    return best, worst


@kernel
def _extend(
    beam: Beam, size: int, symbols: np.ndarray, probs: np.ndarray, cut: float, relative_floor: float, scorer: Scorer,
) -> int:  # fmt: skip
    """Collects the prefixes one symbol longer than those in the beam; returns the number of these candidates.

    The symbols come with their probabilities, the most probable first. A candidate must exceed ``cut``, and
    ``relative_floor`` times the best weight.
    """
    tree, nodes, now, factors, candidates = beam.tree, beam.nodes, beam.now, beam.factors, beam.candidates
    weights, candidate_factors = beam.candidate_weights, beam.candidate_factors
    # upper bound of the language model's factor, except at the end of a word, which gives back the look-ahead
    gain = np.exp(scorer.word_bonus) if scorer.mode == CHAR or (scorer.mode == WORD and scorer.word_bonus > 0) else 1.0
    end_of_word = scorer.space_id if scorer.mode == WORD else -1
    count, place_of_end, has_hotwords = 0, -1, len(scorer.hotwords.tokens) > 1
    for position in range(len(symbols)):
        if symbols[position] == end_of_word:
            place_of_end = position
    for slot in range(size):
        node, total = nodes[slot], now[slot, TOTAL]
        boost = np.exp(scorer.hotwords.bounds[tree[node, CONTEXT]]) if has_hotwords else 1.0
        for position in range(len(symbols)):
            if position != place_of_end and total * probs[position] * gain * boost <= cut:
                if position > place_of_end:
                    break
                continue
            symbol = symbols[position]
            # a repeated symbol needs a blank between
            weight = probs[position] * (now[slot, BLANK] if symbol == tree[node, SYMBOL] else total)
            child = tree[node, FIRST_CHILD]
            while child >= 0 and tree[child, SYMBOL] != symbol:
                child = tree[child, NEXT_SIBLING]
            state, lexicon_node, context = tree[node, STATE], tree[node, LEXICON], tree[node, CONTEXT]
            if child < 0:
                key = node * (len(scorer.token_words) + 1) + symbol
                entry = key & (MEMO_SIZE - 1)
                if beam.memo_keys[entry] == key and weight * beam.memo_factors[entry] <= cut:
                    continue
                if symbol == end_of_word and weight * closing_bound(scorer, lexicon_node) * boost <= cut:
                    continue
                log_prob, begun, state, lexicon_node = follow(scorer, state, lexicon_node, symbol)
                factor = np.exp(fused(scorer, log_prob, begun))
                if has_hotwords:
                    added, context = step(scorer.hotwords, context, symbol)
                    factor *= np.exp(added)
                beam.memo_keys[entry], beam.memo_factors[entry] = key, factor
            elif tree[child, SLOT] >= 0:
                continue  # `_stay` has added its weight
            else:
                factor = factors[child]
            weight *= factor
            if weight > cut:
                weights[count], candidate_factors[count] = weight, factor
                candidates[count, NODE], candidates[count, C_SYMBOL], candidates[count, CHILD] = node, symbol, child
                candidates[count, C_STATE], candidates[count, C_LEXICON] = state, lexicon_node
                candidates[count, C_CONTEXT] = context
                count += 1
                cut = max(cut, weight * relative_floor)
                if count % (2 * len(nodes)) == 0:
                    cut, _ = cut_off(beam, size, count, cut)
    return count


@kernel
def _renew(
    beam: Beam, size: int, count: int, cut: float, num_ties: int, scale: float, num_nodes: int
) -> tuple[int, int]:
    """Keeps what reaches ``cut``, weights times ``scale``; returns the number of prefixes and of nodes."""
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


@kernel
def advance(
    beam: Beam, probs: np.ndarray, blank_id: int, symbol_mass: float, threshold: float, scorer: Scorer
) -> None:
    """Takes the beam over the next frames; arguments as in `search`. The tree must have room for them."""
    beam_width, relative_floor = len(beam.nodes), np.exp(-threshold)
    size, num_nodes = beam.counts[SIZE], beam.counts[NUM_NODES]
    for frame in range(len(probs)):
        row = probs[frame]
        num_symbols = pick_symbols(row, blank_id, symbol_mass, beam.symbols, beam.symbol_probs)
        symbols, symbol_probs = beam.symbols[:num_symbols], beam.symbol_probs[:num_symbols]
        best, worst = _stay(beam, size, row, blank_id)
        cut = max(best * relative_floor, worst if size == beam_width else 0.0)
        count = _extend(beam, size, symbols, symbol_probs, cut, relative_floor, scorer)
        for position in range(count):
            best = max(best, beam.candidate_weights[position])
        cut, num_ties = cut_off(beam, size, count, best * relative_floor)
        size, num_nodes = _renew(beam, size, count, cut, num_ties, 1.0 / best, num_nodes)
    beam.counts[SIZE], beam.counts[NUM_NODES] = size, num_nodes


@compiled
def search(
    probs: np.ndarray, blank_id: int, beam_width: int, symbol_mass: float, symbol_limit: int, threshold: float,
    scorer: Scorer, num_results: int,
) -> list[np.ndarray]:  # fmt: skip
    """Finds the best texts of one utterance.

    Args:
      probs: posteriors, float32 `[frames, classes]`, none of them 0.
      blank_id: class of the blank.
      beam_width, symbol_mass, symbol_limit, threshold: as in `ctc_beam.BeamOptions`.
      scorer: language model and hot words.
      num_results: largest number of texts.

    Returns:
      The ids of each text, the best first; at least one text.
    """
    beam = make_beam(len(probs), beam_width, symbol_limit, scorer)
    advance(beam, probs, blank_id, symbol_mass, threshold, scorer)
    return results(beam, scorer, num_results)


@compiled
def results(beam: Beam, scorer: Scorer, num_results: int) -> list[np.ndarray]:
    """Texts of the best prefixes, with the score of the end of a text."""
    size = beam.counts[SIZE]
    nodes, scores = beam.nodes[:size].copy(), np.empty(size)
    for slot in range(size):
        log_prob = finish(scorer, beam.tree[nodes[slot], STATE], beam.tree[nodes[slot], LEXICON])
        scores[slot] = np.log(beam.now[slot, TOTAL]) + fused(scorer, log_prob, 0)
        scores[slot] += end(scorer.hotwords, beam.tree[nodes[slot], CONTEXT])
    if scores.max() == -np.inf:  # every prefix ends within a word that may not end there: drop these words
        for slot in range(size):
            scores[slot] = np.log(beam.now[slot, TOTAL])
            while beam.tree[nodes[slot], LEXICON] != AT_ROOT:
                nodes[slot] = beam.tree[nodes[slot], PARENT]
    results = [np.empty(0, np.int64) for _ in range(0)]
    for slot in np.argsort(-scores)[:num_results]:
        if scores[slot] > -np.inf:
            results.append(spell(beam.tree, nodes[slot]))
    return results
