"""Transcripts that do not fit their frames are found; whole columns are counted like single transcripts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.indexes import make_index
from utils.data import transcripts
from utils.data.loader import Loader
from utils.data.statistics import FeatureStatistics
from utils.data.transcripts import (
    UNKNOWN,
    count_frames_needed,
    fitting_rows,
    frames_needed,
    references,
    rows_with_loss,
    usable_rows,
)
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError

ENGLISH = Vocabulary.english()
CHINESE = Vocabulary(['好', '你', '𠀀'])
PINYIN = Vocabulary(['hao3', 'ni3'])


def one_by_one(texts, vocabulary):
    counts = []
    for text in texts:
        try:
            counts.append(frames_needed(vocabulary.encode(text)))
        except DataError:
            counts.append(UNKNOWN)
    return counts


@pytest.mark.parametrize('chunk', [1, 2, 100])
@pytest.mark.parametrize(
    ('vocabulary', 'texts'),
    [
        (ENGLISH, ['', 'aab', 'BOOK keeper', '', ' a  a ', 'é', 'bb', "o'o", '']),
        (CHINESE, ['你你好', '𠀀𠀀', '你 好 好', 'x', '']),
        (PINYIN, ['ni3 ni3 hao3', 'ni3', 'ni4', '']),
    ],
)
def test_columns_are_counted_like_single_transcripts(vocabulary, texts, chunk, monkeypatch):
    monkeypatch.setattr(transcripts, '_CHUNK', chunk)
    assert count_frames_needed(texts, vocabulary).tolist() == one_by_one(texts, vocabulary)


@given(st.lists(st.text("ab '\né", max_size=6), max_size=8))
def test_any_transcripts(texts):
    assert count_frames_needed(texts, ENGLISH).tolist() == one_by_one(texts, ENGLISH)


def test_no_transcripts_are_no_counts():
    assert count_frames_needed([], ENGLISH).dtype == np.int64


def test_ctc_needs_a_blank_between_equal_symbols():
    assert frames_needed([1, 2, 3]) == 3
    assert frames_needed([1, 1, 1]) == 5
    assert frames_needed([]) == 0


def test_transcripts_that_do_not_fit_are_named_and_left_out(tmp_path, caplog):
    index = make_index(tmp_path, [(6, 'abc'), (6, 'aab'), (6, ''), (3, 'ab')])
    # with a stride of 2 there are 3 output frames; "aab" needs 4
    assert fitting_rows(index, ENGLISH, 2).tolist() == [True, False, False, True]
    assert usable_rows(index, ENGLISH, 2).tolist() == [0, 3]
    assert 'train.json line 2 (1)' in caplog.text and 'train.json line 3 (2)' in caplog.text


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(DataError, match='none of the 1 transcripts fits'):
        usable_rows(make_index(tmp_path, [(2, 'abcdef')]), ENGLISH, 2)


def test_a_character_outside_the_vocabulary_names_its_line(tmp_path):
    with pytest.raises(DataError, match=r"train\.json line 2 \(1\): character 'é' is not in"):
        usable_rows(make_index(tmp_path, [(9, 'a'), (9, 'é')]), ENGLISH, 2)


def test_what_is_scored_keeps_units_outside_the_vocabulary_as_errors(tmp_path, caplog):
    index = make_index(tmp_path, [(9, 'a'), (9, 'é B'), (2, 'aab')])
    assert rows_with_loss(index, ENGLISH, 2).tolist() == [True, False, False]
    assert '1 of 3 transcripts have units outside' in caplog.text and 'line 2 (1): é' in caplog.text
    assert '1 transcripts are empty or do not fit their frames' in caplog.text
    assert references(index, ENGLISH) == ['a', 'é b', 'aab']
    loader = Loader(index, ENGLISH, FeatureStatistics(np.zeros(13, 'f'), np.ones(13, 'f')))
    assert loader.batch(np.arange(3), 0)[3].tolist() == [1, 3, 3]
    with pytest.raises(DataError, match=r"line 1 \(0\): character 'é' is not in"):
        rows_with_loss(make_index(tmp_path, [(9, 'é')]), ENGLISH, 2)
