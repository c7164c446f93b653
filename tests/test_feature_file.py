"""Feature files are whole or absent; one that is damaged, stale or of another size is found out."""

import io
import os
import random
import zipfile

import numpy as np
import pytest

from tests.indexes import make_index
from utils.data.feature_file import is_current, read_feature_shape, read_features, remove_stale, write_features
from utils.errors import DataError


def test_feature_file_is_current_only_if_whole_and_equal(tmp_path):
    audio, path = tmp_path / 'a.flac', str(tmp_path / 'a.npz')
    audio.write_bytes(b'')
    label = np.array([1, 2], np.int32)
    assert not is_current(path, str(audio), (3, 2), label)
    write_features(path, np.ones((3, 2)), label)
    assert is_current(path, str(audio), (3, 2), label)
    assert read_feature_shape(path) == (3, 2)
    assert not is_current(path, str(audio), (4, 2), label)
    assert not is_current(path, str(audio), (3, 2), label[:1])
    written = (tmp_path / 'a.npz').read_bytes()
    (tmp_path / 'a.npz').write_bytes(written.replace(np.float32(1).tobytes(), b'\0\0\0\0', 1))
    assert not is_current(path, str(audio), (3, 2), label)
    (tmp_path / 'a.npz').write_bytes(written[:-9])
    assert not is_current(path, str(audio), (3, 2), label)
    with pytest.raises(DataError, match=r'a\.npz: cannot be read .*; remove it and run the preprocessing again'):
        read_feature_shape(path)
    write_features(path, np.ones((3, 2)), label)
    os.utime(audio, (4e9, 4e9))
    assert not is_current(path, str(audio), (3, 2), label)


def test_features_of_another_part_of_a_recording_are_not_current(tmp_path):
    audio, path = tmp_path / 'a.flac', str(tmp_path / 'a.npz')
    audio.write_bytes(b'')
    label = np.array([1, 2], np.int32)
    for source in ('', '["a.flac", 1.0, 2.0]'):
        write_features(path, np.ones((3, 2)), label, source)
        sources = ('', '["a.flac", 1.0, 2.0]', '["a.flac", 1.5, 2.5]')
        assert [each for each in sources if is_current(path, str(audio), (3, 2), label, each)] == [source]
        with np.load(path) as arrays:
            assert sorted(arrays) == ['features', 'label'] + ['source'] * bool(source)


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
        return index.features(row, num_features)

    with pytest.raises(DataError, match=r'line 1 \(0\).*not 40 a frame'):
        read(0, 40)
    (tmp_path / '1.npz').write_bytes(b'PK broken')
    with pytest.raises(DataError, match=r'line 2 \(1\).*cannot be read'):
        read(1, 13)
    (tmp_path / '0.npz').unlink()
    with pytest.raises(DataError, match=r'line 1 \(0\).*no such file'):
        read(0, 13)


def npz(path, array=None, header=b''):
    """A zip that holds features.npy: an array, or any bytes."""
    stream = io.BytesIO()
    if array is not None:
        np.save(stream, array, allow_pickle=True)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('features.npy', header or stream.getvalue())
    return str(path)


NUMBERS = np.ones((2, 3), np.float32)
LONG = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 3), }\n"
STRUCTURED = np.zeros((2, 3), [('a', 'f4')])


@pytest.mark.parametrize(
    ('array', 'complaint'),
    [
        (NUMBERS * 1j, 'features of type complex64, not floating-point numbers'),
        (NUMBERS.astype(str), 'features of type <U32, not floating-point numbers'),
        (NUMBERS.astype('M8[s]'), r'features of type datetime64\[s\], not floating-point numbers'),
        (STRUCTURED, r'features of type .*, not floating-point numbers'),
        (NUMBERS.astype(object), 'features of type object, not floating-point numbers'),
        (NUMBERS > 0, 'features of type bool, not floating-point numbers'),
        (NUMBERS.astype(int), 'features of type int64, not floating-point numbers'),
        (NUMBERS[:0], r'features of shape \[0, 3\], not \[any, any\]'),
        (NUMBERS[0], r'features of shape \[3\], not \[any, any\]'),
        (NUMBERS * np.nan, 'features with values that are not finite'),
        (NUMBERS * np.inf, 'features with values that are not finite'),
        (NUMBERS.astype(float) * 1e39, 'features with values that are not finite'),
    ],
)
def test_features_that_are_no_matrix_of_finite_numbers_are_named(tmp_path, array, complaint):
    path = npz(tmp_path / 'a.npz', array)
    with pytest.raises(DataError, match=rf'^i\.json line 1: .*a\.npz: cannot be read \({complaint}\); run the pre'):
        read_features(path, (2, 3), 'i.json line 1')


def test_a_size_beyond_the_file_is_refused_before_memory_is_taken(tmp_path):
    path = npz(tmp_path / 'a.npz', header=b'\x93NUMPY\x01\x00' + len(LONG).to_bytes(2, 'little') + LONG)
    for read in (read_feature_shape, lambda path: read_features(path, (2, 3), 'i.json line 1')):
        with pytest.raises(DataError, match='not as long as the file says'):
            read(path)


def test_any_floats_in_any_order_and_compression_are_read(tmp_path):
    for array in (NUMBERS.astype('>f8'), np.asfortranarray(NUMBERS), NUMBERS.astype(np.float16)):
        np.savez_compressed(tmp_path / 'a.npz', features=array, other=np.array(None))
        found = read_features(str(tmp_path / 'a.npz'), (2, 3), 'i.json line 1')
        assert found.dtype == np.float32 and np.array_equal(found, NUMBERS) and found.flags.writeable


def test_frames_other_than_the_index_says_are_named(tmp_path):
    index = make_index(tmp_path, [(4, 'a')])
    index.frames[0] = 2**31 - 1
    with pytest.raises(DataError, match=r'line 1 \(0\): .*0\.npz has 4 frames, the index says 2147483647; run the pre'):
        index.features(0, 13)


def test_what_is_no_regular_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / 'a.npz')
    for path in (tmp_path / 'a.npz', tmp_path):
        with pytest.raises(DataError, match='not a regular file'):
            read_feature_shape(str(path))
