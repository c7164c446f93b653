"""ROVER: alignments against all that there are, votes by hand."""

import functools
import math

import numpy as np
import pytest

from utils.decode.hypothesis import Hypothesis, Span, words
from utils.decode.rover import Candidate, align, candidates, rover, vote

TOKENS = [' ', 'a', 'b', 'c']
SPACE = 0


def text(spelled, confidence=0.8):
    """Candidates of words that are single letters; frame t of the text is that of word t."""
    return [
        Candidate((TOKENS.index(letter),), (Span(t, t + 1, math.log(confidence)),), confidence)
        for t, letter in enumerate(spelled.split())
    ]


def spelled(hypothesis):
    return ''.join(TOKENS[symbol] for symbol in hypothesis.ids)


def least_cost(network, words):
    """By trying every alignment: 4 for a word that the slot lacks, 3 for an insertion or a deletion without NULL."""

    @functools.cache
    def rest(i, j):
        if i == len(network) and j == len(words):
            return 0
        found = []
        if i < len(network) and j < len(words):
            known = {each.ids for each in network[i] if each}
            found.append(rest(i + 1, j + 1) + (0 if words[j].ids in known else 4))
        if i < len(network):
            found.append(rest(i + 1, j) + (0 if None in network[i] else 3))
        if j < len(words):
            found.append(rest(i, j + 1) + 3)
        return min(found)

    return rest(0, 0)


def cost_of(network, merged):
    """Cost of the alignment that a merged network shows, from its last column and the slots before."""
    total, old = 0, iter(network)
    for *slot, new in merged:
        if not any(slot):
            total += 3
            continue
        assert next(old) == slot
        if new is None:
            total += 0 if None in slot else 3
        else:
            total += 0 if new.ids in {each.ids for each in slot if each} else 4
    assert next(old, None) is None
    return total


@pytest.mark.parametrize('seed', range(30))
def test_every_alignment_is_one_of_least_cost_and_keeps_the_words_in_order(seed):
    rng = np.random.default_rng(seed)
    texts = [text(' '.join(rng.choice(list('abc'), rng.integers(low, 6)))) for low in (1, 0, 0, 0)]
    network = [[each] for each in texts[0]]
    for words_of_one in texts[1:]:
        merged = align(network, words_of_one)
        assert [each for *_, each in merged if each] == words_of_one
        assert cost_of(network, merged) == least_cost(network, words_of_one)
        network = merged
    for number, words_of_one in enumerate(texts):
        assert [slot[number] for slot in network if slot[number]] == words_of_one


def test_the_majority_wins_each_slot():
    assert spelled(rover([text('a b c'), text('a c'), text('a b b c')], SPACE)) == 'a b c'
    assert spelled(rover([text('b b'), text('a b'), text('a b')], SPACE)) == 'a b'


def test_of_two_recognisers_the_confident_one_wins():
    assert spelled(rover([text('a', 0.6), text('b', 0.9)], SPACE)) == 'b'
    assert spelled(rover([text('a', 0.6), text('b', 0.3)], SPACE)) == 'a'
    assert spelled(rover([text('a', 0.6), text('b', 0.6)], SPACE)) == 'a'  # the first of equals


def test_a_word_that_one_of_two_has_stays_if_its_confidence_is_above_that_of_null():
    assert spelled(rover([text('a b', 0.8), text('a', 0.8)], SPACE)) == 'a b'
    assert spelled(rover([text('a', 0.8), text('a b', 0.3)], SPACE)) == 'a'


def test_a_vote_weighs_frequency_and_the_highest_confidence():
    (a, strong_a), (b,) = [*text('a', 0.4), *text('a', 0.5)], text('b', 0.9)
    assert vote([a, b, strong_a], alpha=0.7) == (strong_a, pytest.approx(0.7 * 2 / 3 + 0.3 * 0.5))
    assert vote([a, b, strong_a], alpha=0.2) == (b, pytest.approx(0.2 / 3 + 0.8 * 0.9))
    assert vote([None, None, b], alpha=0.9, null_confidence=0.1)[0] is None
    assert vote([None, None, b], alpha=0.1, null_confidence=0.1)[0] is b


def test_empty_texts_vote_too():
    assert rover([[], []], SPACE) == Hypothesis((), 0.0, ())
    assert spelled(rover([[], text('a', 0.9)], SPACE)) == 'a'
    assert spelled(rover([text('a', 0.9), [], []], SPACE)) == ''


def test_the_result_has_the_times_of_the_winner_and_its_vote_as_confidence():
    """The second recogniser has frames of 80 ms, those of the result take 20 ms."""
    first = Hypothesis((1, 0, 2), 0.0, (Span(2, 3, math.log(0.9)), Span(4, 5, 0.0), Span(6, 8, 2 * math.log(0.2))))
    second = Hypothesis((1, 0, 3, 1), 0.0, tuple(Span(t, t + 1, math.log(0.7)) for t in (1, 1, 2, 2)))
    found = rover([candidates(first, SPACE), candidates(second, SPACE, 4.0)], SPACE)
    one, two = words(found, TOKENS, SPACE, 0.02)
    assert (one.word, one.start, one.end) == ('a', pytest.approx(0.04), pytest.approx(0.06))
    assert (two.word, two.start, two.end) == ('ca', pytest.approx(0.16), pytest.approx(0.24))
    assert one.confidence == pytest.approx(0.5 + 0.5 * 0.9) and two.confidence == pytest.approx(0.25 + 0.5 * 0.7)
    assert found.log_prob == pytest.approx(math.log(one.confidence) + math.log(two.confidence))


def test_no_word_begins_before_the_last_symbol():
    late = [Candidate((1,), (Span(9, 12, math.log(0.9)),), 0.9), Candidate((2,), (Span(12, 13, math.log(0.1)),), 0.1)]
    early = [Candidate((1,), (Span(1, 2, math.log(0.1)),), 0.1), Candidate((3,), (Span(5, 6, math.log(0.9)),), 0.9)]
    found = rover([late, early], SPACE)
    assert spelled(found) == 'a c' and [span.start_frame for span in found.frames] == [9, 9, 9]


def test_without_a_space_every_token_is_voted_for():
    tokens = [Hypothesis(ids, 0.0, tuple(Span(t, t + 1, -0.1) for t in range(len(ids)))) for ids in ((1, 2, 0), (1, 0))]
    assert rover([candidates(each, None) for each in (tokens[0], *tokens)], None).ids == (1, 2, 0)
