"""Counting whole columns of transcripts agrees with counting them one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data import transcripts
from utils.data.transcripts import UNKNOWN, count_frames_needed, frames_needed
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
