"""ROVER: combines the best texts of several recognisers by alignment and voting (Fiscus 1997, ASRU).

The words of the first text are the slots of a word transition network. Each further text is aligned with it by dynamic
programming and adds a word or NULL to each slot; words between the slots make new ones. The word of a slot with the
highest vote wins:

    vote(w) = α · N(w) / recognisers + (1 - α) · C(w)

N(w) counts the recognisers with this word, C(w) is the highest confidence that one of them has in it (the paper's
"maximum confidence"), that of NULL is a constant. Of equal votes, the word of the recogniser that was named first wins.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from utils.decode.hypothesis import Hypothesis, Span, confidence, word_positions

ALPHA, NULL_CONFIDENCE = 0.5, 0.7
SUBSTITUTION, INSERTION, DELETION = 4, 3, 3  # costs of an alignment, as in NIST's sclite

Ids = tuple[int, ...]


class Candidate(NamedTuple):
    """A word that a recogniser found: ids of its symbols, their spans, and the confidence in it, in [0, 1]."""

    ids: Ids
    spans: tuple[Span, ...]
    confidence: float


Slot = list[Candidate | None]  # of each recogniser so far; None: NULL


def candidates(hypothesis: Hypothesis, space_id: int | None, frames: float = 1.0) -> list[Candidate]:
    """The words of a hypothesis.

    Args:
      hypothesis: best text of a recogniser.
      space_id: id of the space; None where every token is a word by itself.
      frames: frames of the result in one of the hypothesis's frames.
    """
    found = []
    for positions in word_positions(hypothesis.ids, space_id):
        spans = tuple(hypothesis.frames[position] for position in positions)
        scaled = (
            Span(round(each.start_frame * frames), round(each.end_frame * frames), each.log_prob) for each in spans
        )
        ids = tuple(hypothesis.ids[position] for position in positions)
        found.append(Candidate(ids, tuple(scaled), confidence(spans)))
    return found


def _costs(network: Sequence[Slot], words: Sequence[Candidate]) -> list[list[int]]:
    """Least costs of aligning the first i slots with the first j words, `[slots + 1][words + 1]`."""
    table = [[INSERTION * j for j in range(len(words) + 1)]]
    for slot in network:
        above, row = table[-1], [table[-1][0] + _skip_cost(slot)]
        for j, word in enumerate(words):
            row.append(min(above[j] + _match_cost(slot, word), above[j + 1] + _skip_cost(slot), row[j] + INSERTION))
        table.append(row)
    return table


def _match_cost(slot: Slot, word: Candidate) -> int:
    return 0 if any(each and each.ids == word.ids for each in slot) else SUBSTITUTION


def _skip_cost(slot: Slot) -> int:
    return 0 if None in slot else DELETION


def align(network: Sequence[Slot], words: Sequence[Candidate]) -> list[Slot]:
    """Adds the words of a text to a network, each to the slot that it is aligned with or to a new one.

    The alignment is one of least cost: a word that the slot already has, and no word where it has NULL, cost nothing.
    """
    table, i, j = _costs(network, words), len(network), len(words)
    size = len(network[0]) if network else 1
    merged: list[Slot] = []
    while i or j:
        cost = table[i][j]
        if i and j and cost == table[i - 1][j - 1] + _match_cost(network[i - 1], words[j - 1]):
            i, j = i - 1, j - 1
            merged.append([*network[i], words[j]])
        elif i and cost == table[i - 1][j] + _skip_cost(network[i - 1]):
            i -= 1
            merged.append([*network[i], None])
        else:
            j -= 1
            merged.append([*[None] * size, words[j]])
    return merged[::-1]


def vote(slot: Slot, alpha: float = ALPHA, null_confidence: float = NULL_CONFIDENCE) -> tuple[Candidate | None, float]:
    """The winner of a slot, as the most confident recogniser has it, and its vote; None: NULL."""
    groups: dict[Ids | None, list[Candidate | None]] = {}
    for each in slot:
        groups.setdefault(each.ids if each else None, []).append(each)
    best: tuple[Candidate | None, float] = None, -1.0
    for group in groups.values():
        word = max((each for each in group if each), key=lambda each: each.confidence, default=None)
        value = alpha * len(group) / len(slot) + (1 - alpha) * (word.confidence if word else null_confidence)
        if value > best[1]:
            best = word, value
    return best


def rover(
    texts: Sequence[Sequence[Candidate]], space_id: int | None, alpha: float = ALPHA,
    null_confidence: float = NULL_CONFIDENCE,
) -> Hypothesis:  # fmt: skip
    """The text that the recognisers vote for.

    Args:
      texts: words of each recogniser's text; the best recogniser first.
      space_id: id of the space; None where every token is a word by itself.
      alpha: share of the frequency in a vote.
      null_confidence: confidence of NULL.

    Returns:
      A hypothesis whose words have the times of their most confident recogniser, moved where one would begin before the
      last symbol, and the votes as confidence; its log-probability is the sum of the logarithms of the votes.
    """
    network: list[Slot] = [[each] for each in texts[0]]
    for number, words in enumerate(texts[1:], 1):
        network = align(network, words) if network else [[*[None] * number, each] for each in words]
    votes = [vote(slot, alpha, null_confidence) for slot in network]
    ids, spans, total = list[int](), list[Span](), 0.0
    for winner, value in votes:
        log_vote = math.log(max(value, 1e-30))
        total += log_vote
        if winner is None:
            continue
        earliest = spans[-1].start_frame if spans else 0
        if ids and space_id is not None:
            ids.append(space_id)
            spans.append(Span(earliest, earliest, 0.0))  # no frames, which leave the confidence as it is
        for symbol, span in zip(winner.ids, winner.spans, strict=True):
            earliest = max(span.start_frame, earliest)
            end = max(span.end_frame, earliest + 1)
            ids.append(symbol)
            spans.append(Span(earliest, end, log_vote * (end - earliest)))
    return Hypothesis(tuple(ids), total, tuple(spans))
