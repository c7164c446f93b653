"""Comparison with the hypotheses of another run: reading them, differences, significance."""

import json

import pytest

from tests.indexes import make_index
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import Hypothesis
from utils.errors import DataError, UsageError
from utils.metrics import score
from utils.recognition.comparison import Comparison, read_others
from utils.recognition.error_analysis import ErrorAnalysis
from utils.recognition.report import Evaluation, write_hypotheses


def evaluation(references, texts):
    keys = [f'{number}.npz' for number in range(len(texts))]
    hypotheses = [Hypothesis((), -1.0, ())] * len(texts)
    return Evaluation(keys, references, hypotheses, texts, score(references, texts))


def compare(references, here, there):
    return Comparison.of(ErrorAnalysis.of(evaluation(references, here)), there, 'OTHER')


def test_differences_are_errors_here_minus_errors_there():
    found = compare(['a b', 'c', 'd'], ['a b', 'x', 'd'], ['x y', 'c', 'd'])
    assert found.differences.tolist() == [-2, 1, 0]
    assert found.differing(9) == [0, 1]
    assert found.differing(1) == [0]
    assert found.scores == score(['a b', 'c', 'd'], ['x y', 'c', 'd'])
    assert found.test.segments == 2 and found.test.mean == -0.5


def test_verdict_names_the_better_run_where_the_difference_is_significant():
    good, bad = ['a b c d'] * 40, ['a b c x'] * 30 + ['a b c d'] * 10
    assert compare(good, good, bad).verdict() == (
        'This run has significantly fewer errors (matched pairs, p < 0.001, 30 segments)'
    )
    assert 'significantly more errors' in compare(good, bad, good).verdict()
    same = compare(good, bad, bad)
    assert same.verdict() == 'The difference is not significant (matched pairs, p = 1.000, 30 segments)'
    assert same.difference(ErrorAnalysis.of(evaluation(good, bad))) == (
        'WER 18.75 % here, 18.75 % in OTHER: +0.00 points (95 %: +0.00 to +0.00)'
    )


@pytest.fixture
def index(tmp_path):
    return make_index(tmp_path, [(9, 'a b'), (9, 'c')])


def write_other(folder, references=('a b', 'c'), texts=('a', 'c')):
    return write_hypotheses(evaluation(list(references), list(texts)), folder, 'dev', {})[1]


@pytest.mark.parametrize('place', ['test/dev', 'dev', '.'])
def test_hypotheses_are_found_in_runs_and_out_directories_and_as_files(index, tmp_path, place):
    path = write_other(tmp_path / 'other' / place)
    for given in (tmp_path / 'other', path):
        assert read_others(str(given), {'dev': index}, Vocabulary.english()) == {'dev': ['a', 'c']}


@pytest.mark.parametrize(
    ('references', 'message'),
    [
        (['a b'], r'has 1 utterances and lacks 1 of the 2 of .*train.json, such as 1; test the other run'),
        (['a b', 'c', 'd'], 'has 3 utterances and lacks 0 of the 2'),
        (['a b', 'd'], r"1 has another transcript than in .*train.json line 2 \(1\): 'd' instead of 'c'; test"),
    ],
)
def test_other_utterances_and_transcripts_are_refused(index, tmp_path, references, message):
    write_other(tmp_path / 'other', references, references)
    with pytest.raises(DataError, match=message):
        read_others(str(tmp_path / 'other'), {'dev': index}, Vocabulary.english())


def test_what_has_no_hypotheses_is_named(index, tmp_path):
    with pytest.raises(DataError, match='--compare .*none: no hypotheses.json of the index dev in it'):
        read_others(str(tmp_path / 'none'), {'dev': index}, Vocabulary.english())
    for text in ('', '{}', '[1]', json.dumps({'utterances': [{'utterance': 3}]}), '\xff'):
        (tmp_path / 'hypotheses.json').write_text(text, encoding='latin-1')
        with pytest.raises(DataError, match=r'not a hypotheses.json of run_test.py \(.*\); name one, or'):
            read_others(str(tmp_path), {'dev': index}, Vocabulary.english())


def test_one_file_for_two_indexes_and_an_empty_path_are_usage_errors(index, tmp_path):
    with pytest.raises(UsageError, match='--compare: an empty path; give'):
        read_others('', {'dev': index}, Vocabulary.english())
    path = str(write_other(tmp_path / 'other'))
    with pytest.raises(UsageError, match='one file for 2 indexes; give the directory'):
        read_others(path, {'dev': index, 'test': index}, Vocabulary.english())
