"""File writes are atomic; JSON of the wrong kind is one clear line."""

import contextlib
import dataclasses
import math
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import DataError
from utils.files import decode_json, read_json, replacing, write_text


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


def test_a_link_that_foresaw_the_temporary_name_is_not_written_through(tmp_path, monkeypatch):
    path, mine = tmp_path / 'a.txt', tmp_path / 'mine.txt'
    mine.write_text('mine')
    (tmp_path / f'.a.txt.{os.getpid()}.tmp').symlink_to(mine)
    write_text(path, 'new')
    assert (mine.read_text(), path.read_text(), path.is_symlink()) == ('mine', 'new', False)
    monkeypatch.setattr('secrets.token_hex', lambda n: 'ab')  # even a name that was guessed
    (tmp_path / f'.b.txt.ab.{os.getpid()}.tmp').symlink_to(mine)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / 'b.txt', 'new')
    assert mine.read_text() == 'mine'


def test_the_umask_applies_to_written_files(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / 'a.txt', 'new')
    finally:
        os.umask(old)
    assert (tmp_path / 'a.txt').stat().st_mode & 0o777 == 0o640


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


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5
    names: tuple[str, ...] = ()
    rate: float | None = None


@dataclasses.dataclass(frozen=True)
class Shape:
    points: list[Point]
    notes: dict[str, float] = dataclasses.field(default_factory=dict)


def read(tmp_path, content, kind=Point):
    path = tmp_path / 'a.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_json(path, kind, 'a shape', 'draw it again')


def test_json_becomes_a_dataclass(tmp_path):
    assert read(tmp_path, '{"x": 3, "y": 2, "names": ["a"]}') == Point(3, 2.0, ('a',))
    assert read(tmp_path, '{"x": 3, "rate": null}') == Point(3)
    assert read(tmp_path, '{"points": [{"x": 1}], "notes": {"any": 1}}', Shape) == Shape([Point(1)], {'any': 1})
    assert read(tmp_path, '[{"x": 1}]', list[Point]) == [Point(1)]
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1.5}\n', dict[str, float]) == {'a': 1.5}


def test_infinity_as_python_writes_it_is_read_into_dataclasses_only(tmp_path):
    assert read(tmp_path, '{"x": 1, "y": -Infinity}') == Point(1, -math.inf)
    with pytest.raises(DataError, match='malformed'):
        read(tmp_path, '{"a": Infinity}', dict[str, float])


def test_lone_lines_name_their_number():
    assert decode_json('{"x": 1}', Point, 'a chief', 'a point', 'start it again') == Point(1)
    with pytest.raises(DataError, match=r"^a\.json line 7: not a point \('\$\.x': Expected 'int', got 'str'\); fix"):
        decode_json(b'{"x": "1"}', Point, 'a.json', 'a point', 'fix it', 7)


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ('{"x": "3"}', "'$.x': Expected 'int', got 'str'"),
        ('{"x": true}', "'$.x': Expected 'int', got 'bool'"),
        ('{"x": 1.5}', "'$.x': Expected 'int', got 'float'"),
        ('{"x": null}', "'$.x': Expected 'int', got 'null'"),
        ('{"x": 1, "names": [1]}', "'$.names[0]': Expected 'str', got 'int'"),
        ('{"y": 1}', "Object missing required field 'x'"),
        ('{"x": 1, "z": 2}', "'$': no field is called 'z'"),
        ('{"x": 1, "a\\nb": 2}', "'$': no field is called 'a\\nb'"),
        ('null', "Expected 'object', got 'null'"),
        ('[]', "Expected 'object', got 'array'"),
        ('', 'empty'),
        (' \n', 'empty'),
        ('{"x": 1', 'Input data was truncated'),
        ('{"x": 1} {"x": 2}', 'JSON is malformed: trailing characters (byte 10)'),
        ('{"x": NaN}', 'JSON is malformed: invalid character (byte 6)'),
        ('{"x": nan}', 'JSON is malformed: invalid character (byte 10)'),
        ('{"x": 1, "y": Infinity, "z": 2}', "'$': no field is called 'z'"),
        ('{"x": 1, "y": 1e999}', "'$.y': Number out of range"),
        ('<!DOCTYPE html><html></html>', 'JSON is malformed: invalid character (byte 0)'),
        ('{"x": 1}'.encode('utf-16'), 'JSON is malformed: invalid character (byte 0)'),
        (b'{"x": 1, "names": ["\xff"]}', 'not UTF-8 text'),
        (b'\x00' * 512, 'JSON is malformed: invalid character (byte 0)'),
        ('[' * 100_000, "Expected 'object', got 'array'"),
        ('{"x": 1, "z": ' + '[' * 100_000 + ']' * 100_000 + '}', 'nested too deeply'),
        ('{"x": 1, "z": ' + '{"z": ' * 100_000, 'nested too deeply'),
    ],
)
def test_json_of_another_kind_is_one_line_that_names_file_place_and_remedy(tmp_path, content, complaint):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == f'{tmp_path}/a.json: not a shape ({complaint}); draw it again'


def test_unknown_fields_are_found_at_any_depth(tmp_path):
    with pytest.raises(DataError, match=re.escape("('$.points[1]': no field is called 'colour')")):
        read(tmp_path, '{"points": [{"x": 1}, {"x": 2, "colour": "red"}]}', Shape)


def test_a_file_that_is_not_there_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / 'none.json', Point, 'a shape', 'draw it again')


@given(st.binary(max_size=40) | st.text('{}[]",:x1 \\u', max_size=40).map(str.encode))
def test_any_bytes_are_a_point_or_a_data_error(content):
    with contextlib.suppress(DataError):
        assert isinstance(decode_json(content, Point, 'a', 'a point', 'fix it'), Point)
