"""Greedy decoding: merged best paths of CTC, times and confidences worked out by hand; attention peaks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.decode.greedy import GreedyStream, attention_hypotheses, best_paths
from utils.decode.hypothesis import Hypothesis, Span, confidence, words

BLANK = 3


def decode(path, log_probs=None):
    log_probs = [-0.5] * len(path) if log_probs is None else log_probs
    return best_paths(np.array([path], np.int32), np.array([log_probs], np.float32), np.array([len(path)]), BLANK)[0]


def test_repeats_merge_and_blanks_vanish():
    assert decode([3, 0, 0, 3, 1, 3]).ids == (0, 1)


def test_repeated_label_needs_a_blank_between():
    assert decode([0, 0]).ids == (0,)
    assert decode([0, 3, 0]).ids == (0, 0)


def test_path_probability_includes_blanks():
    assert decode([3, 0, 0], [-1.0, -2.0, -4.0]).log_prob == -7.0


def test_frames_of_each_symbol():
    hypothesis = decode([3, 0, 0, 1, 3, 1], [-1.0, -2.0, -4.0, -8.0, -16.0, -32.0])
    assert hypothesis.frames == (Span(1, 3, -6.0), Span(3, 4, -8.0), Span(5, 6, -32.0))


def test_only_blanks_is_an_empty_hypothesis():
    assert decode([3, 3], [-1.0, -1.0]) == Hypothesis((), -2.0, ())


def test_no_frames_and_no_utterances():
    assert decode([]) == Hypothesis((), 0.0, ())
    assert best_paths(np.zeros((0, 5), np.int32), np.zeros((0, 5)), np.zeros(0, np.int32), BLANK) == []


def test_frames_beyond_the_length_change_nothing():
    ids = np.array([[0, 1, 1, 2], [0, 1, 1, 1]])
    log_probs = np.array([[-1.0, -1.0, np.nan, np.nan], [-1.0, -1.0, -1.0, -1.0]])
    short, whole = best_paths(ids, log_probs, np.array([2, 4]), BLANK)
    assert short == decode([0, 1], [-1.0, -1.0])
    assert whole == decode([0, 1, 1, 1], [-1.0] * 4)


def test_symbols_do_not_merge_across_utterances():
    first, second = best_paths(np.array([[3, 1], [1, 3]]), np.zeros((2, 2)), np.array([2, 2]), BLANK)
    assert (first.ids, second.ids) == ((1,), (1,))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'\[batch, frames\]'):
        best_paths(np.zeros((2, 3), np.int32), np.zeros((2, 4)), np.array([3, 3]), BLANK)


@given(st.lists(st.lists(st.integers(0, BLANK), max_size=7), min_size=1, max_size=4), st.integers(0, BLANK))
@settings(max_examples=200, deadline=None)
def test_agrees_with_groupby(paths, blank_id):
    frames = max(map(len, paths))
    ids = np.array([path + [0] * (frames - len(path)) for path in paths], np.int32).reshape(len(paths), frames)
    log_probs = -np.arange(1.0, ids.size + 1).reshape(ids.shape)
    hypotheses = best_paths(ids, log_probs, np.array([len(path) for path in paths]), blank_id)
    for path, row, hypothesis in zip(paths, log_probs, hypotheses, strict=True):
        runs = [(symbol, list(run)) for symbol, run in itertools.groupby(enumerate(path), lambda pair: pair[1])]
        spans = [
            (symbol, Span(run[0][0], run[-1][0] + 1, sum(row[frame] for frame, _ in run)))
            for symbol, run in runs
            if symbol != blank_id
        ]
        assert hypothesis == Hypothesis(
            tuple(symbol for symbol, _ in spans), sum(row[: len(path)]), tuple(span for _, span in spans)
        )


def test_words_end_at_spaces():
    tokens = ['a', 'b', ' ']
    hypothesis = decode([0, 3, 1, 1, 2, 0])  # a, b b, space, a
    first, second = words(hypothesis, tokens, space_id=2, secs_per_frame=0.02)
    assert (first.word, second.word) == ('ab', 'a')
    assert (first.start, first.end) == pytest.approx((0.0, 0.08))
    assert (second.start, second.end) == pytest.approx((0.1, 0.12))


def test_surplus_spaces_make_no_words():
    assert [word.word for word in words(decode([2, 0, 2, 3, 2, 1, 2]), ['a', 'b', ' '], 2, 0.02)] == ['a', 'b']
    assert words(decode([2, 3, 2]), ['a', 'b', ' '], 2, 0.02) == []


def test_without_a_space_every_token_is_a_word():
    assert [word.word for word in words(decode([0, 1, 2]), ['ni3', 'hao3', '你'], None, 0.02)] == ['ni3', 'hao3', '你']


def test_times_count_from_the_start_of_the_recording():
    assert words(decode([3, 0]), ['a'], None, 0.5, offset_secs=10.0)[0].start == 10.5


def test_confidence_is_the_geometric_mean_over_the_frames_of_the_word():
    log_probs = np.log([0.9, 0.5, 0.5, 0.1, 0.4])
    (word,) = words(decode([3, 0, 0, 3, 1], log_probs), ['a', 'b', ' '], 2, 0.02)
    assert word.confidence == pytest.approx((0.5 * 0.5 * 0.4) ** (1 / 3), rel=1e-6)


def test_confidence_stays_in_bounds():
    assert confidence([]) == 0.0
    assert confidence([Span(0, 1, 1e-7)]) == 1.0  # rounding in a softmax
    assert confidence([Span(0, 1, -math.inf)]) == 0.0


def test_greedy_hypotheses_end_at_their_lengths_and_peak_where_attention_does():
    weights = np.array([[[0.1, 0.9], [0.9, 0.1]], [[0.7, 0.3], [0.5, 0.5]]])
    log_probs = np.log([[0.5, 0.25], [0.5, 0.5]])
    lengths, is_cut = np.array([2, 1]), np.array([True, False])
    ids, ends = np.array([[1, 2], [0, BLANK]]), np.zeros(2)
    first, second = attention_hypotheses(ids, log_probs, lengths, ends, is_cut, weights)
    assert first.ids == (1, 2) and first.is_cut
    # the peaks are frames 1 and 0, one as sure as the other: both move to the middle, which is rounded to even
    assert [span.start_frame for span in first.frames] == [0, 0]
    assert second.ids == (0,) and not second.is_cut  # its end was certain, which is a log-probability of 0, too
    assert math.isclose(second.log_prob, math.log(0.5))


@pytest.mark.parametrize('size', [1, 2, 50])
def test_frames_in_chunks_give_the_best_path_of_the_whole(size):
    log_probs = np.log(np.random.default_rng(3).dirichlet(np.ones(4), 50))
    (expected,) = best_paths(log_probs.argmax(1)[None], log_probs.max(1)[None], [50], 3)
    stream = GreedyStream(3)
    for first in range(0, 50, size):
        stream.add(log_probs[first : first + size])
    assert stream.final().ids == expected.ids
    assert [span[:2] for span in stream.final().frames] == [span[:2] for span in expected.frames]
    assert stream.final().log_prob == pytest.approx(expected.log_prob)
    np.testing.assert_allclose([each[2] for each in stream.final().frames], [each[2] for each in expected.frames])
