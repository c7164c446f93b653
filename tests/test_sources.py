"""Speakers and recordings of an index's utterances."""

import json

import pytest

from tests.indexes import make_index
from utils.data.sources import Source, read_sources
from utils.errors import DataError


@pytest.fixture
def with_fields(tmp_path):
    """Returns a function that makes an index of one utterance with these fields beside the usual ones."""
    def make(**fields):
        index = make_index(tmp_path, [(4, 'a')])
        path = tmp_path / 'train.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
        return index

    return make


def test_recordings_are_relative_to_the_index_or_absolute(with_fields, tmp_path):
    index = with_fields(speaker='anna', audio='wav/a.flac', start=1.5, end=2.25)
    assert read_sources(index) == [Source('anna', f'{tmp_path}/wav/a.flac', 1.5, 2.25)]
    assert read_sources(with_fields(audio='/corpus/a.flac'))[0].audio_path == '/corpus/a.flac'


def test_old_indexes_name_neither_speaker_nor_recording(tmp_path):
    index = make_index(tmp_path, [(4, 'a'), (5, 'b')])
    assert read_sources(index) == [Source(), Source()]


def test_numbers_are_speakers_too_and_control_characters_no_path(with_fields):
    assert read_sources(with_fields(speaker=7, audio='a\nb.flac')) == [Source('7')]


def test_damaged_fields_are_named_with_their_line(with_fields):
    with pytest.raises(DataError, match=r"train.json line 1: not an utterance \('\$\.start': .*; repair it"):
        read_sources(with_fields(start='soon'))


def test_index_that_changed_meanwhile_is_refused(tmp_path):
    index = make_index(tmp_path, [(4, 'a'), (5, 'b')])
    (tmp_path / 'train.json').write_text('{}\n')
    with pytest.raises(DataError, match='train.json: changed while it was read; run the same command again'):
        read_sources(index)
