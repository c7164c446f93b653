"""Points of a tuning: counts, groups, standard errors and intervals, on literal counts."""

import numpy as np
import pytest

from utils.decode.points import (
    Point,
    TextCounter,
    format_points,
    group_by_speaker,
    interval,
    split_groups,
    within_one_error,
)
from utils.lm.scorer import Weights


def point(lm_weight, errors, lengths=None, empty=0):
    lengths = np.full(len(errors), 10) if lengths is None else lengths
    columns = errors, lengths, np.array(errors) * 2, lengths * 5, [empty, *[0] * (len(errors) - 1)]
    return Point(Weights(lm_weight, 1.25), np.stack(columns, 1))


def test_words_and_characters_are_counted():
    count = TextCounter(['ab c', 'b'], lambda ids: ''.join(' abc'[symbol] for symbol in ids), has_words=True)
    assert count([(1, 2, 0, 3), ()]).tolist() == [[0, 2, 0, 4, 0], [1, 1, 1, 1, 1]]
    assert count([(1, 0, 3, 3), (1,)]).tolist() == [[2, 2, 2, 4, 0], [1, 1, 1, 1, 0]]
    count = TextCounter(['ab'], lambda ids: ''.join(' abc'[symbol] for symbol in ids), has_words=False)
    assert count([(1, 3)]).tolist() == [[1, 2, 1, 2, 0]]


def test_one_standard_error_is_that_of_the_paired_difference():
    """A point errs once more in two of eight groups: 2 errors, and their error is sqrt(8 / 7 · (2 - 4 / 8)) = 1.31."""
    best, groups = point(1.0, [3] * 8), np.arange(8)
    assert not within_one_error(point(0.5, [4, 4, 3, 3, 3, 3, 3, 3]), best, groups)
    assert within_one_error(point(0.5, [5, 2, 3, 3, 3, 3, 3, 3]), best, groups)
    assert not within_one_error(point(0.5, [4] * 8), best, groups)  # an error more in each: no doubt about that
    assert within_one_error(best, best, groups)


def test_utterances_of_a_speaker_count_as_one_group():
    """Speakers: 4 and -1 errors more, 3 ± sqrt(2 · (2.5² + 2.5²)) = 5. As single utterances: 3 ± 2.1."""
    best, worse = point(1.0, [3] * 8), point(0.5, [4, 4, 4, 4, 2, 3, 3, 3])
    assert within_one_error(worse, best, np.repeat([0, 1], 4))
    assert not within_one_error(worse, best, np.arange(8))
    narrow, wide = (interval(worse.counts, groups) for groups in (np.arange(8), np.repeat([0, 1], 4)))
    assert wide == (pytest.approx(0.275), pytest.approx(0.4)) and narrow[1] - narrow[0] < 0.125


def test_speakers_are_groups_if_there_are_five_and_all_are_known():
    assert group_by_speaker(list('eabcda')).tolist() == [4, 0, 1, 2, 3, 0]
    assert group_by_speaker(list('abcda')).tolist() == [0, 1, 2, 3, 4]
    assert group_by_speaker(['a', 'b', 'c', 'd', 'e', '']).tolist() == [0, 1, 2, 3, 4, 5]


def test_parts_hold_whole_groups_and_about_the_same_length():
    groups, lengths = np.array([7, 2, 7, 3, 5, 5]), np.array([4, 5, 2, 1, 2, 2])
    parts = split_groups(groups, lengths, 2)
    assert [part.tolist() for part in parts] == [[0, 2, 3], [1, 4, 5]]
    assert sorted(np.concatenate(split_groups(groups, lengths, 4)).tolist()) == list(range(6))


def test_the_table_has_intervals_and_marks_the_best_and_the_chosen():
    best, other = point(0.8, [1, 3]), point(0.5, [2, 4], empty=1)
    lines = format_points([best, other], other, np.arange(2), True).splitlines()
    assert lines[0].split() == ['lm_weight', 'word_bonus', 'WER', '%', '95', '%', 'CER', '%', 'empty']
    assert lines[1].split() == ['0.5', '1.25', '30.00', '20.00-40.00', '12.00', '1', 'chosen']
    assert lines[2].split() == ['0.8', '1.25', '20.00', '10.00-30.00', '8.00', '0', 'best']
    (_, line, _) = format_points([best, other], best, np.arange(2), False).splitlines()
    assert line.split() == ['0.5', '1.25', '30.00', '20.00-40.00', '1']
