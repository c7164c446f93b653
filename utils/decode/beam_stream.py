"""CTC prefix beam search of an utterance whose posteriors come frame by frame."""

import numpy as np

from utils.decode.ctc_beam import SPARE_RESULTS, BeamOptions, checked_probs, rescore, spans
from utils.decode.hypothesis import BeamHypothesis, Hypothesis
from utils.decode.prefix_search import (
    FIRST_CHILD,
    NEXT_SIBLING,
    NUM_NODES,
    PARENT,
    SIZE,
    SLOT,
    TOTAL,
    Beam,
    advance,
    make_beam,
    results,
    spell,
)
from utils.jit import compiled
from utils.lm.scorer import Scorer, no_scorer

FRAMES_AT_ONCE = 32  # for which the tree gets room
FIRST_ROOM = 64  # frames


@compiled
def prune(beam: Beam) -> None:
    """Removes the nodes that no prefix in the beam has; a later search finds the same, as weights are not in them."""
    tree, num_nodes = beam.tree, beam.counts[NUM_NODES]
    places = np.full(num_nodes, -1)  # new number of each node
    for slot in range(beam.counts[SIZE]):
        node = beam.nodes[slot]
        while node >= 0 and places[node] < 0:
            places[node] = 0
            node = tree[node, PARENT]
    places[0] = 0
    count = 0
    for node in range(num_nodes):  # a parent is before its children
        if places[node] < 0:
            continue
        places[node], parent = count, tree[node, PARENT]
        tree[count], beam.factors[count] = tree[node], beam.factors[node]
        tree[count, FIRST_CHILD] = tree[count, NEXT_SIBLING] = -1
        if parent >= 0:
            parent = places[parent]
            tree[count, PARENT], tree[count, NEXT_SIBLING] = parent, tree[parent, FIRST_CHILD]
            tree[parent, FIRST_CHILD] = count
        if tree[count, SLOT] >= 0:
            beam.nodes[tree[count, SLOT]] = count
        count += 1
    beam.counts[NUM_NODES] = count
    beam.memo_keys[:] = -1  # they hold numbers of nodes


class BeamStream:
    """The search of `ctc_beam.decode_utterance`, going on as frames are added; it ends with the same text.

    Args:
      blank_id: class of the blank, the last one.
      options: limits of the search.
      scorer: language model; None: none.
    """

    def __init__(self, blank_id: int, options: BeamOptions, scorer: Scorer | None):
        self._blank_id, self._options = blank_id, options
        self._scorer = scorer or no_scorer(blank_id)
        symbol_limit = min(options.symbol_limit, blank_id + 1)
        self._beam = make_beam(FIRST_ROOM, options.beam_width, symbol_limit, self._scorer)
        self._log_probs, self._num_frames = np.empty((FIRST_ROOM, blank_id + 1), np.float32), 0
        self._partial = Hypothesis((), 0.0, ())

    @property
    def num_bytes(self) -> int:
        """Memory of the search."""
        return self._log_probs.nbytes + sum(each.nbytes for each in self._beam)

    def add(self, log_probs: np.ndarray) -> None:
        """Appends log-posteriors `[frames, classes]`.

        Raises:
          DataError: they hold NaN, or are not normalised.
        """
        first, self._num_frames = self._num_frames, self._num_frames + len(log_probs)
        if self._num_frames > len(self._log_probs):
            more = np.empty((max(self._num_frames, 2 * first), self._blank_id + 1), np.float32)
            more[:first] = self._log_probs[:first]
            self._log_probs = more
        self._log_probs[first : self._num_frames] = log_probs
        probs = checked_probs(self._log_probs[first : self._num_frames])
        for frame in range(0, len(probs), FRAMES_AT_ONCE):
            block = probs[frame : frame + FRAMES_AT_ONCE]
            self._make_room(len(block) * self._options.beam_width)
            advance(
                self._beam, block, self._blank_id, self._options.symbol_mass, self._options.threshold, self._scorer
            )

    def partial(self) -> Hypothesis:
        """The best prefix so far, ranked with the look-ahead of its open word."""
        beam = self._beam
        best = beam.nodes[beam.now[: beam.counts[SIZE], TOTAL].argmax()]
        text = spell(beam.tree, best)
        if tuple(text.tolist()) != self._partial.ids:  # the spans of the same text hardly change
            log_probs = self._log_probs[: self._num_frames]
            self._partial = Hypothesis(tuple(text.tolist()), 0.0, spans(log_probs, text, self._blank_id))
        return self._partial

    def final(self) -> BeamHypothesis:
        """The best text, if the utterance ends here."""
        log_probs = self._log_probs[: self._num_frames]
        found = results(self._beam, self._scorer, 1 + SPARE_RESULTS)
        return rescore(log_probs, checked_probs(log_probs), found, self._blank_id, self._options, self._scorer)[0]

    def _make_room(self, num_nodes: int) -> None:
        """Makes room for this number of new nodes in the tree."""
        if self._beam.counts[NUM_NODES] + num_nodes <= len(self._beam.tree):
            return
        prune(self._beam)
        needed = self._beam.counts[NUM_NODES] + num_nodes
        if 2 * needed > len(self._beam.tree):  # else it would be pruned again soon
            tree, factors = np.empty((2 * needed, self._beam.tree.shape[1]), np.int64), np.ones(2 * needed)
            tree[: len(self._beam.tree)], factors[: len(self._beam.tree)] = self._beam.tree, self._beam.factors
            self._beam = self._beam._replace(tree=tree, factors=factors)
