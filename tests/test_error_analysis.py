"""Errors of an evaluation by utterance, speaker and value; confusions."""

import numpy as np

from utils.decode.hypothesis import Hypothesis
from utils.metrics import ErrorCounts, score
from utils.recognition.error_analysis import ErrorAnalysis
from utils.recognition.report import Evaluation


def analysis(references, texts, has_words=True):
    keys = [f'{number}.npz' for number in range(len(texts))]
    scores = score(references, texts, has_words)
    return ErrorAnalysis.of(Evaluation(keys, references, [Hypothesis((), -1.0, ())] * len(texts), texts, scores))


FOUR = analysis(['a b c d', 'a b', 'a', 'c d'], ['a b c x', 'x b', 'a', 'x y'])


def test_errors_and_lengths_of_utterances():
    assert FOUR.errors.tolist() == [1, 1, 0, 2]
    assert FOUR.lengths.tolist() == [4, 2, 1, 2]
    assert FOUR.group('all', np.arange(4)).counts == FOUR.result.scores.words
    assert FOUR.group('all', np.arange(4), of_characters=True).counts == FOUR.result.scores.characters


def test_worst_are_those_with_the_highest_rates_and_no_correct_ones():
    assert FOUR.worst(9) == [3, 1, 0]
    assert FOUR.worst(1) == [3]


def test_speakers_are_ordered_by_their_rates():
    groups = FOUR.by_speaker(['anna', 'bob', 'anna', ''], 9)
    assert [(each.name, each.utterances, each.counts.errors) for each in groups] == [
        ('unknown', 1, 2),
        ('bob', 1, 1),
        ('anna', 2, 1),
    ]
    assert groups[0].interval is None and groups[2].interval is not None
    assert groups[2].counts == ErrorCounts(hits=4, substitutions=1)
    assert [each.name for each in FOUR.by_speaker(['anna', 'bob', 'anna', ''], 2)] == ['unknown', 'bob']
    assert FOUR.by_speaker([''] * 4, 9) == []


def test_groups_by_value_have_about_equal_sizes():
    many = analysis(['a'] * 80, ['a'] * 40 + ['b'] * 40)
    bins = many.by_value(np.arange(80.0))
    assert [(low, high, group.utterances) for low, high, group in bins][:2] == [(0, 9, 10), (10, 19, 10)]
    assert [group.counts.rate for _, _, group in bins] == [0] * 4 + [1] * 4


def test_equal_values_stay_in_one_group():
    many = analysis(['a'] * 80, ['a'] * 80)
    bins = many.by_value(np.array([1] * 70 + [2] * 10))
    assert [(low, high, group.utterances) for low, high, group in bins] == [(1, 1, 70), (2, 2, 10)]
    assert analysis([], []).by_value(np.zeros(0)) == []


def test_confusions_of_words_and_characters_are_counted():
    found = analysis(['the cat sat', 'on cat a'], ['the bat', 'in on bat a'])
    assert found.confusions(of_characters=False) == {
        ('cat', 'bat'): 2,
        ('sat', None): 1,
        (None, 'in'): 1,
    }
    letters = found.confusions(of_characters=True)
    assert letters['c', 'b'] == 2 and letters[' ', None] == letters[None, ' '] == 1


def test_texts_without_words_are_compared_by_character():
    found = analysis(['绿是 阳春'], ['绿是杨春'], has_words=False)
    assert (found.unit, found.errors.tolist(), found.lengths.tolist()) == ('characters', [1], [4])
    assert found.confusions(of_characters=True) == found.confusions(of_characters=False) == {('阳', '杨'): 1}
