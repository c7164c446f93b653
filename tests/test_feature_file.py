"""Feature files are whole or absent; one that is damaged, stale or of another size is found out."""

import os
import random

import numpy as np
import pytest

from tests.indexes import make_index
from utils.data.feature_file import is_current, read_features, read_shape, remove_stale, write_features
from utils.errors import DataError


def test_feature_file_is_current_only_if_whole_and_equal(tmp_path):
    audio, path = tmp_path / 'a.flac', str(tmp_path / 'a.npz')
    audio.write_bytes(b'')
    label = np.array([1, 2], np.int32)
    assert not is_current(path, str(audio), (3, 2), label)
    write_features(path, np.ones((3, 2)), label)
    assert is_current(path, str(audio), (3, 2), label)
    assert read_shape(path) == (3, 2)
    assert not is_current(path, str(audio), (4, 2), label)
    assert not is_current(path, str(audio), (3, 2), label[:1])
    written = (tmp_path / 'a.npz').read_bytes()
    (tmp_path / 'a.npz').write_bytes(written.replace(np.float32(1).tobytes(), b'\0\0\0\0', 1))
    assert not is_current(path, str(audio), (3, 2), label)
    (tmp_path / 'a.npz').write_bytes(written[:-9])
    assert not is_current(path, str(audio), (3, 2), label)
    with pytest.raises(DataError, match='no feature file'):
        read_shape(path)
    write_features(path, np.ones((3, 2)), label)
    os.utime(audio, (4e9, 4e9))
    assert not is_current(path, str(audio), (3, 2), label)


def test_no_damage_to_a_feature_file_stops_preprocessing(tmp_path):
    audio, path = tmp_path / 'a.flac', tmp_path / 'a.npz'
    audio.write_bytes(b'')
    label, rng = np.array([1, 2], np.int32), random.Random(0)
    write_features(str(path), np.ones((3, 2)), label)
    whole = path.read_bytes()
    for _ in range(2000):  # raises exceptions of struct, zlib, tokenize, ... within numpy
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        is_current(str(path), str(audio), (3, 2), label)
    write_features(str(path), np.full((3, 2), np.nan), label)
    assert not is_current(str(path), str(audio), (3, 2), label)
    path.unlink()
    os.mkfifo(path)
    assert not is_current(str(path), str(audio), (3, 2), label)


def test_only_files_of_dead_processes_are_stale(tmp_path):
    names = [f'.a.npz.{os.getpid()}.tmp', '.a.npz.4194305.tmp', 'a.npz.4194305.tmp']  # above the largest process id
    for name in names:
        (tmp_path / name).touch()
    remove_stale(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([names[0], names[2]])


def test_features_of_another_size_or_damaged_are_named(tmp_path):
    index = make_index(tmp_path, [(4, 'a'), (4, 'b')])

    def read(row, num_features):
        return read_features(index.keys[row], num_features, index.where(row))

    with pytest.raises(DataError, match=r'line 1 \(0\).*not 40 a frame'):
        read(0, 40)
    (tmp_path / '1.npz').write_bytes(b'PK broken')
    with pytest.raises(DataError, match=r'line 2 \(1\).*cannot be read'):
        read(1, 13)
    (tmp_path / '0.npz').unlink()
    with pytest.raises(DataError, match=r'line 1 \(0\).*no such file'):
        read(0, 13)
