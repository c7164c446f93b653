"""Atomic file writes: the target is the old file or the complete new one."""

import os

import pytest

from utils.files import replacing, write_text


def test_text_is_written_as_it_is_into_a_new_directory(tmp_path):
    write_text(tmp_path / 'new' / 'dir' / 'a.txt', 'é\n')
    assert (tmp_path / 'new' / 'dir' / 'a.txt').read_bytes() == b'\xc3\xa9\n'


def test_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with replacing(path) as temporary_path:
        temporary_path.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['a.txt']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(error), replacing(path) as temporary_path:
        temporary_path.write_text('half')
        raise error
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_error_of_a_full_disk_names_the_file_itself(tmp_path):
    with pytest.raises(OSError, match='No space') as caught, replacing(tmp_path / 'a.txt'):
        raise OSError(28, 'No space left on device')
    assert caught.value.filename == str(tmp_path / 'a.txt')


def test_error_of_a_missing_directory_names_the_file_itself(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / 'none' / 'a.txt') as temporary_path:
        temporary_path.write_text('new')
    assert caught.value.filename == str(tmp_path / 'none' / 'a.txt')


def test_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / 'a.txt'):
        (tmp_path / 'source').read_bytes()
    assert caught.value.filename in (tmp_path / 'source', str(tmp_path / 'source'))
