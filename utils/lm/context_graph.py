"""Aho-Corasick automaton of phrases over symbols; it scores their occurrences in the prefixes of a beam search.

    boost(y) = sum over phrases of weight * symbols * occurrences of the phrase in y

An occurrence is of whole words where the vocabulary has a space: every phrase is matched with a space before and after
it, as if a text had one at both ends, and spaces in a row are one. Occurrences that overlap or lie within others count
as well. A prefix is credited with the symbols of the phrase that it may complete (the best one, where there are
several): its potential. The next symbol takes it back if it matches none of them, and the end of the text does in any
case, so that the sum over a text is exact. A failure link leads to the longest proper suffix that begins a phrase.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from utils.jit import kernel
from utils.lm.ngram import find_child, frozen

TRIE_ROOT = 0


class ContextGraph(NamedTuple):
    """The automaton; node 0 is the empty prefix, and the children of a node stand together, sorted by token."""

    children: np.ndarray  # int32 [num_nodes + 1], the first child of each node; its last stands before the next's first
    tokens: np.ndarray  # int32 [num_nodes], the last token of each node, -1 for the first node
    links: np.ndarray  # int32 [num_nodes], the failure links
    potentials: np.ndarray  # float64 [num_nodes], credit for the phrases that are not complete (nats)
    values: np.ndarray  # float64 [num_nodes], the potential and the boosts of all phrases that end at the node
    bounds: np.ndarray  # float64 [num_nodes], upper bound of what the next symbol adds
    space_id: int  # -1 where every symbol may begin or end a phrase
    start: int  # node before the first symbol


def build_graph(phrases: Mapping[tuple[int, ...], float], space_id: int = -1) -> ContextGraph:
    """The automaton of phrases.

    Args:
      phrases: weight for each symbol (nats) by the token ids of a phrase; a negative one makes a phrase rarer.
      space_id: token id of the space, where the vocabulary has one.
    """
    padding = (space_id,) if space_id >= 0 else ()
    tree: list[dict[int, int]] = [{}]
    boosts, credits = [0.0], [0.0]
    for phrase, weight in phrases.items():
        node = 0
        for depth, token in enumerate([*padding, *phrase, *padding]):
            if depth:
                credits[node] = max(credits[node], weight * (depth - len(padding)))
            if token not in tree[node]:
                tree[node][token] = len(tree)
                tree.append({})
                boosts.append(0.0)
                credits.append(0.0)
            node = tree[node][token]
        boosts[node] = weight * len(phrase)
    return _number(tree, boosts, credits, space_id)


def _number(tree: list[dict[int, int]], boosts: list[float], credits: list[float], space_id: int) -> ContextGraph:
    """Numbers the nodes of a trie level by level, and follows the failure links, which lead to earlier levels."""
    order, tokens, links = [0], [-1], [0]
    children, values, potentials, best = [1], [0.0], [0.0], [0.0]
    successors: list[dict[int, int]] = []  # the new numbers
    for number, old in enumerate(order):  # it grows
        first = len(order)
        successors.append({})
        for token, child in sorted(tree[old].items()):
            link = links[number]
            while number and link and token not in successors[link]:
                link = links[link]
            link = successors[link].get(token, 0) if number else 0
            successors[number][token] = len(order)
            order.append(child)
            tokens.append(token)
            links.append(link)
            potentials.append(max(credits[child], potentials[link]))
            values.append(potentials[-1] + boosts[child] + values[link] - potentials[link])
        children.append(len(order))
        if number:
            best.append(best[links[number]])
        best[number] = max([best[number], *values[first:]])
    bounds = np.maximum(np.array(best) - potentials, 0.0)
    start = successors[0].get(space_id, 0)
    ints = frozen((np.array(children, np.int32), np.array(tokens, np.int32), np.array(links, np.int32)))
    floats = frozen((np.array(potentials), np.array(values), bounds))
    return ContextGraph(*ints, *floats, space_id if start else -1, start)


@kernel
def step(graph: ContextGraph, node: int, symbol: int) -> tuple[float, np.int64]:
    """What a symbol adds to the score of a prefix at a node; the next node."""
    before = np.int64(node)
    if symbol == graph.space_id and graph.tokens[before] == symbol:
        return 0.0, before
    suffix = before
    child = find_child(graph.tokens, graph.children[suffix], graph.children[suffix + 1], symbol)
    while child < 0 and suffix != TRIE_ROOT:
        suffix = np.int64(graph.links[suffix])
        child = find_child(graph.tokens, graph.children[suffix], graph.children[suffix + 1], symbol)
    following = max(child, np.int64(TRIE_ROOT))
    return graph.values[following] - graph.potentials[before], following


@kernel
def end(graph: ContextGraph, node: int) -> float:
    """What the end of the text adds: the phrases that end here, less the potential."""
    if graph.space_id < 0:
        return -graph.potentials[node]
    added, following = step(graph, node, graph.space_id)
    return added - graph.potentials[following]


@kernel
def boost(graph: ContextGraph, symbols: np.ndarray) -> float:
    """The boost of a whole text."""
    total, node = 0.0, np.int64(graph.start)
    for symbol in symbols:
        added, node = step(graph, node, symbol)
        total += added
    return total + end(graph, node)


@kernel
def score_classes(graph: ContextGraph, nodes: np.ndarray, scores: np.ndarray) -> None:
    """Writes what every class adds after each node, `[nodes, classes]`; the last class ends the text."""
    num_tokens = scores.shape[1] - 1
    for row in range(len(nodes)):
        node, potential = np.int64(nodes[row]), graph.potentials[nodes[row]]
        scores[row, :num_tokens] = np.nan
        while True:  # the longest suffix counts
            for child in range(graph.children[node], graph.children[node + 1]):
                if np.isnan(scores[row, graph.tokens[child]]):
                    scores[row, graph.tokens[child]] = graph.values[child] - potential
            if node == TRIE_ROOT:
                break
            node = np.int64(graph.links[node])
        for token in range(num_tokens):
            if np.isnan(scores[row, token]):
                scores[row, token] = -potential
        if graph.space_id >= 0 and graph.tokens[nodes[row]] == graph.space_id:
            scores[row, graph.space_id] = 0.0
        scores[row, num_tokens] = end(graph, nodes[row])


@kernel
def follow_all(graph: ContextGraph, nodes: np.ndarray, symbols: np.ndarray, num_tokens: int) -> None:
    """Moves nodes on by one class each; the end of a text leaves them."""
    for row in range(len(nodes)):
        if symbols[row] < num_tokens:
            nodes[row] = step(graph, nodes[row], symbols[row])[1]
