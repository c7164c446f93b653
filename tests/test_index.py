"""Indexes are read as columns, from us or from others; what is wrong is named by file and line."""

import json
import os

import numpy as np
import pytest

from utils.data.feature_file import write_features
from utils.data.features import FeatureSpec
from utils.data.index import index_key, read_index, write_index
from utils.errors import DataError


def make(folder, name='a', frames=3, featlen=40, **changes):
    """One line of an index, and its feature file."""
    write_features(str(folder / f'{name}.npz'), np.zeros((frames, featlen)), [1])
    entry = {'key': f'{name}.npz', 'duration': 1.5, 'texts': 'hi', 'frames': frames, 'features': 'fbank-40-0.02-0.01'}
    return {key: value for key, value in {**entry, **changes}.items() if value is not None}


def write(folder, *lines, name='i.json'):
    path = folder / name
    path.write_text(''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines))
    return str(path)


def test_lines_become_columns(tmp_path):
    path = write(tmp_path, make(tmp_path, 'a'), '\n', make(tmp_path, 'b', 5, texts='é'))
    index = read_index([path])
    assert index.keys == [str(tmp_path / 'a.npz'), str(tmp_path / 'b.npz')]
    assert index.texts == ['hi', 'é']
    assert index.frames.tolist() == [3, 5]
    assert index.durations.tolist() == [1.5, 1.5]
    assert index.spec == FeatureSpec()
    assert index.where(1) == f'{path} line 3 (b)'


def test_rows_taken_keep_their_origin(tmp_path):
    first = write(tmp_path, make(tmp_path, 'a'), name='1.json')
    second = write(tmp_path, make(tmp_path, 'b'), make(tmp_path, 'c', 7), name='2.json')
    taken = read_index([first, second]).take([2, 0])
    assert taken.frames.tolist() == [7, 3]
    assert [taken.where(row) for row in (0, 1)] == [f'{second} line 2 (c)', f'{first} line 1 (a)']


def test_index_of_others_is_completed_from_the_files(tmp_path):
    lines = [make(tmp_path, name, frames, 13) for name, frames in (('a', 4), ('b', 6))]
    bare = [{key: line[key] for key in ('key', 'duration', 'texts')} for line in lines]
    index = read_index([write(tmp_path, *bare)])
    assert index.frames.tolist() == [4, 6]
    assert index.spec == FeatureSpec('mfcc', 13)


@pytest.mark.parametrize(
    ('line', 'complaint'),
    [
        ('{"key": "a.npz", \n', r'line 2: not an utterance \(Input data was truncated\); repair it'),
        ('[1]\n', "line 2: .*Expected 'object', got 'array'"),
        ({'key': 'a.npz', 'texts': 'hi'}, "line 2: .*missing required field 'duration'"),
        ({'key': 'a.npz', 'duration': 'x', 'texts': 'hi'}, r"line 2: .*\$\.duration': Expected 'float', got 'str'"),
        ({'key': 'a.npz', 'duration': -1, 'texts': 'hi'}, r"line 2: .*\$\.duration': Expected 'float' > 0"),
        ({'key': 'a.npz', 'duration': float('nan'), 'texts': 'hi'}, r'line 2: .*invalid character \(byte 29\)'),
        ({'key': '', 'duration': 1, 'texts': 'hi'}, r"line 2: .*\$\.key': Expected 'str' of length >= 1"),
        ({'key': 'a.npz', 'duration': 1, 'texts': ['hi']}, r"line 2: .*\$\.texts': Expected 'str', got 'array'"),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'frames': '7'}, r"line 2: .*\$\.frames': Expected 'int'"),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'frames': 0}, r"line 2: .*\$\.frames': Expected 'int' >= 1"),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'frames': 1.5}, r"line 2: .*\$\.frames': Expected 'int'"),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'frames': 2**31}, r"line 2: .*\$\.frames': Expected 'int' <="),
        ({'key': 'a.npz', 'duration': 1e300, 'texts': 'hi'}, r"line 2: .*\$\.duration': Expected 'float' <="),
        ({'key': 'a\x1b[2J.npz', 'duration': 1, 'texts': 'hi'}, r"line 2: control characters in the key 'a\\x1b\[2J"),
        ({'key': 'a\nb.npz', 'duration': 1, 'texts': 'hi'}, r"line 2: control characters in the key 'a\\nb\.npz'"),
        ('{"key": "\\ud800.npz", "duration": 1, "texts": "hi"}\n', 'line 2: .*malformed: .*utf-16 surrogate'),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'features': ''}, r"line 2 \(a\): '' does not name features"),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'features': 'what'}, r'line 2 \(a\): .what. does not name'),
        ({'key': 'a.npz', 'duration': 1, 'texts': 'hi', 'features': 'fbank-13-0.02-0.01'}, r'line 2 \(a\): '),
        ({'key': 'b.npz', 'duration': 1, 'texts': 'hi'}, r'line 2 \(b\): .*b.npz is missing;'),
    ],
)
def test_broken_line_is_named(tmp_path, line, complaint):
    path = write(tmp_path, make(tmp_path), line)
    with pytest.raises(DataError, match=rf'i\.json {complaint}') as caught:
        read_index([path])
    assert '\n' not in str(caught.value)
    assert type(caught.value) is DataError


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / 'i.json').write_bytes(b'{"key": "\xff"}\n')
    with pytest.raises(DataError, match=r'line 1: .*not UTF-8'):
        read_index([str(tmp_path / 'i.json')])


def test_lengths_are_compared_with_the_files_where_that_is_asked_for(tmp_path):
    path = write(tmp_path, make(tmp_path, 'a'), make(tmp_path, 'b') | {'frames': 2**31 - 1})
    assert read_index([path]).frames.tolist() == [3, 2**31 - 1]
    with pytest.raises(DataError, match=r'line 2 \(b\): 2147483647 frames, but 3 in its file; repair it'):
        read_index([path], verify=True)
    (tmp_path / 'a.npz').write_bytes(b'PK')
    with pytest.raises(DataError, match=r'line 1 \(a\): .*a\.npz: cannot be read'):
        read_index([path], verify=True)


def test_utterances_named_twice_are_counted_in_the_log(tmp_path, caplog):
    first = write(tmp_path, make(tmp_path, 'a'), make(tmp_path, 'b'), name='1.json')
    (tmp_path / 'link').symlink_to(tmp_path)
    assert len(read_index([first])) == 2 and not caplog.text
    second = write(tmp_path, {**make(tmp_path, 'b'), 'key': str(tmp_path / 'link' / 'b.npz')}, name='2.json')
    assert len(read_index([first, second])) == 3
    assert f'1 utterances are named again, and count again; the first: {second} line 1 (b)' in caplog.text


def test_missing_files_are_counted(tmp_path):
    lines = [make(tmp_path, name) for name in 'abc']
    (tmp_path / 'b.npz').unlink()
    (tmp_path / 'c.npz').unlink()
    with pytest.raises(DataError, match=r'line 2 \(b\): .*b.npz is missing \(and 1 more of 3\); run'):
        read_index([write(tmp_path, *lines)])


def test_features_of_two_kinds_are_refused(tmp_path):
    other = make(tmp_path, 'b', featlen=13, features='mfcc-13-0.02-0.01')
    with pytest.raises(DataError, match=r'line 1 \(a\) has features fbank-40.* line 2 \(b\) has mfcc-13'):
        read_index([write(tmp_path, make(tmp_path), other)])


def test_index_without_lines_is_refused(tmp_path):
    with pytest.raises(DataError, match=r'2\.json: no utterances'):
        read_index([write(tmp_path, make(tmp_path), name='1.json'), write(tmp_path, name='2.json')])


def test_index_that_says_something_else_is_kept(tmp_path):
    path, backup = str(tmp_path / 'i.json'), tmp_path / 'i.json.bak'
    write_index(path, [{'texts': 'é'}])
    assert not backup.exists()
    write_index(path, [{'texts': 'b'}])
    write_index(path, [{'texts': 'b'}])
    assert backup.read_text(encoding='utf-8') == '{"texts": "é"}\n'
    assert sorted(os.listdir(tmp_path)) == ['i.json', 'i.json.bak']


def test_key_is_relative_below_the_index_and_absolute_elsewhere():
    assert index_key('/x/feat/a/b.npz', '/x/feat/i.json') == 'a/b.npz'
    assert index_key('/x/feat/b.npz', '/x/indexes/i.json') == '/x/feat/b.npz'
    assert index_key('/x/..feat/b.npz', '/x/i.json') == '..feat/b.npz'


def test_lines_are_numbered_past_blank_ones(tmp_path):
    good = [make(tmp_path, name) for name in 'abcde']
    index = read_index([write(tmp_path, *good[:3], '  \n', *good[3:])])
    assert [index.where(row).split('/')[-1] for row in (1, 3)] == ['i.json line 2 (b)', 'i.json line 5 (d)']
    with pytest.raises(DataError, match='line 5: .*trailing characters'):
        read_index([write(tmp_path, *good[:4], json.dumps(good[4]) + json.dumps(good[4]) + '\n')])


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = write(tmp_path, '\ufeff' + json.dumps(make(tmp_path)) + '\n')
    assert read_index([path]).texts == ['hi']
