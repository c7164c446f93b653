"""Manifests of one line per utterance: CSV, TSV, JSON Lines, LJSpeech's metadata.csv and plain ``path<TAB>text``."""

import csv
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from utils.data.corpora import Problem
from utils.errors import DataError
from utils.files import BYTE_ORDER_MARK, decode_json

# names of columns and JSON keys, in any case; the first that a manifest has is used
AUDIO_COLUMNS = ('wav_filename', 'audio_filepath', 'path', 'filename', 'file_name', 'audio_path', 'audio', 'wav')
TEXT_COLUMNS = ('transcript', 'sentence', 'text', 'transcription')
SPEAKER_COLUMNS = ('client_id', 'speaker', 'speaker_id', 'spk', 'spk_id', 'speaker_name')
BAD_LINE = 'line that cannot be read'

_NAMES = {'\t': 'TSV', ',': 'CSV', ';': 'CSV with semicolons', '|': 'CSV with bars'}
_MAX_RECORD_LINES = 50  # lines of a quoted field; a quote that is never closed would take the rest of the file


class Row(NamedTuple):
    """An utterance as a manifest has it, unchecked.

    Attributes:
      place: file and line, for messages.
      audio: path of the recording.
      text: transcript.
      name: id of the utterance; empty where the format has none.
      speaker: name of the speaker; empty: unknown.
      start, end: segment of the recording in seconds, as text or number; None: the whole, or to its end.
      duration: length of the segment, where ``end`` is not given.
    """

    place: str
    audio: str
    text: str
    name: str = ''
    speaker: str = ''
    start: Any = None
    end: Any = None
    duration: Any = None


class Table(NamedTuple):
    """A manifest: description of its format, the utterances, and the lines that are left out."""

    description: str
    rows: list[Row]
    problems: list[Problem]


class _Columns(NamedTuple):
    """Names of the columns that are used; empty: there is none."""

    audio: str
    text: str
    speaker: str
    offset: str
    duration: str

    @classmethod
    def of(cls, names: Sequence[str], audio_column: str | None, text_column: str | None) -> '_Columns':
        """Chooses among the names that a manifest has."""
        by_lower = {name.strip().lower(): name for name in reversed(names)}

        def find(*wanted: str) -> str:
            return next((by_lower[name] for name in wanted if name in by_lower), '')

        audio = find(audio_column.strip().lower()) if audio_column else find(*AUDIO_COLUMNS)
        text = find(text_column.strip().lower()) if text_column else find(*TEXT_COLUMNS)
        offset = find('offset')
        return cls(audio, text, find(*SPEAKER_COLUMNS), offset, find('duration') if offset else '')

    def __str__(self) -> str:
        durations = f" and '{self.duration}'" if self.duration else ''
        segments = f", segments '{self.offset}'{durations}" if self.offset else ''
        speakers = f"speakers '{self.speaker}'" if self.speaker else 'no speakers'
        return f"audio '{self.audio}', text '{self.text}', {speakers}{segments}"

    def check(self, place: str, names: Sequence[str], audio_column: str | None, text_column: str | None) -> None:
        """Raises a `DataError` if there is no audio or no text."""
        for found, given, flag, known in (
            (self.audio, audio_column, '--audio_column', AUDIO_COLUMNS),
            (self.text, text_column, '--text_column', TEXT_COLUMNS),
        ):
            if not found:
                wanted = f'{flag} {given} is not' if given else f'none of {", ".join(known)} is'
                listed = ', '.join(repr(name[:40]) for name in names[:12]) + (', ...' if len(names) > 12 else '')
                raise DataError(f'{place}: {wanted} among its columns: {listed}; name one of them with {flag}')


def read_lines(path: str) -> list[str]:
    """Lines of a text file in UTF-8 or, with a byte order mark, UTF-16; U+FFFD stands for bytes that are neither."""
    with open(path, 'rb') as stream:
        data = stream.read()
    is_utf16 = data.startswith((b'\xff\xfe', b'\xfe\xff'))
    text = data.removeprefix(BYTE_ORDER_MARK).decode('utf-16' if is_utf16 else 'utf-8', 'replace')
    return text.replace('\r\n', '\n').replace('\r', '\n').split('\n')


def read_table(path: str, audio_column: str | None, text_column: str | None) -> Table:
    """Reads a manifest; its format and its columns are recognised.

    Args:
      path: the file.
      audio_column: name of the column of audio paths; None: one of `AUDIO_COLUMNS`.
      text_column: name of the column of transcripts; None: one of `TEXT_COLUMNS`.

    Raises:
      DataError: the format is not recognised, or such a column is missing.
    """
    lines = read_lines(path)
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise DataError(f'{path}: the file is empty; give a manifest with a line for each utterance')
    line, place = lines[first].lstrip(), f'{path} line {first + 1}'
    if '\0' in line:
        raise DataError(f'{path}: binary data; give a manifest, which is text')
    if line.startswith('{'):
        return _read_json_lines(path, lines, audio_column, text_column)
    if line.startswith('['):
        raise DataError(f'{place}: a JSON list, or no manifest; write JSON Lines, an object a line')
    headers = {delimiter: _split(lines[first], delimiter) for delimiter in _NAMES}
    columns = {each: _Columns.of(headers[each], audio_column, text_column) for each in headers}
    delimiter = max(
        headers, key=lambda each: (bool(columns[each].audio) + bool(columns[each].text), len(headers[each]))
    )
    chosen = columns[delimiter]
    if not (chosen.audio or chosen.text or audio_column or text_column):
        if len(headers['\t']) == 2:
            rows, problems = _plain_rows(path, lines)
            return Table('plain lines of path, tab, text; no speakers', rows, problems)
        if 2 <= len(headers['|']) <= 3:
            rows, problems = _ljspeech_rows(path, lines)
            return Table('LJSpeech (id|text|normalised text, wavs/ID.wav); no speakers', rows, problems)
    chosen.check(place, headers[delimiter], audio_column, text_column)
    rows, problems = _delimited_rows(path, lines[first:], first + 1, delimiter, chosen)
    return Table(f'{_NAMES[delimiter]}, {chosen}', rows, problems)


def _delimited_rows(
    path: str, lines: list[str], first: int, delimiter: str, columns: _Columns
) -> tuple[list[Row], list[Problem]]:
    """Rows below a header, which is the line with the number ``first``."""
    rows: list[Row] = []
    problems: list[Problem] = []
    names = _split(lines[0], delimiter)
    at = {name: position for position, name in reversed(list(enumerate(names)))}
    for number, fields in _records(lines, 1, delimiter):
        place = f'{path} line {first + number}'
        if isinstance(fields, str):
            problems.append(Problem(BAD_LINE, place, fields))
        elif len(fields) != len(names):
            detail = f'number of fields: {len(fields)}, in the header {len(names)}; check delimiters and quotes'
            problems.append(Problem(BAD_LINE, place, detail))
        else:
            rows.append(_row(place, [fields[at[name]] if name else '' for name in columns], columns))
    return rows, problems


def _row(place: str, values: Sequence[Any], columns: _Columns) -> Row:
    """Row of the values of the columns, with a segment where the manifest has offsets."""
    audio, text, speaker = ('' if value is None else str(value) for value in values[:3])
    if not columns.offset:  # a duration alone describes the whole file
        return Row(place, audio, text, speaker=speaker)
    offset, duration = (None if value == '' else value for value in values[3:])
    return Row(place, audio, text, speaker=speaker, start=0.0 if offset is None else offset, duration=duration)


def _records(lines: list[str], first: int, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Position and fields of each record that is not blank, or a text that tells what is wrong with it."""
    position = first
    while position < len(lines):
        line, start = lines[position], position
        position += 1
        if not line.strip():
            continue
        if '"' not in line or delimiter not in ',;':
            yield start, _split(line, delimiter)
            continue
        following = (f'{each}\n' for each in lines[start : start + _MAX_RECORD_LINES])
        reader = csv.reader(following, delimiter=delimiter, strict=True)
        try:
            yield start, next(reader)
            position = start + reader.line_num
        except csv.Error as error:
            yield start, f'its quotes do not fit ({error}); close each one, and double those within a text'


def _split(line: str, delimiter: str) -> list[str]:
    """Fields of one line. Quotes of TSV count only around a whole field: Common Voice has single ones in its texts."""
    if '"' in line and delimiter in ',;':
        try:
            return next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # longer than csv's limit: no manifest
            return [line]
    fields = line.split(delimiter)
    return [_unquote(field) for field in fields] if '"' in line else fields


def _unquote(field: str) -> str:
    inner = field[1:-1]
    is_quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', '')
    return inner.replace('""', '"') if is_quoted else field


def _plain_rows(path: str, lines: list[str]) -> tuple[list[Row], list[Problem]]:
    rows, problems = [], []
    for number, line in enumerate(lines, 1):
        audio, tab, text = line.partition('\t')
        if tab:
            rows.append(Row(f'{path} line {number}', audio, text))
        elif line.strip():
            problems.append(Problem(BAD_LINE, f'{path} line {number}', 'no tab between path and text'))
    return rows, problems


def _ljspeech_rows(path: str, lines: list[str]) -> tuple[list[Row], list[Problem]]:
    rows, problems = [], []
    for number, line in enumerate(lines, 1):
        fields = line.split('|')
        if 2 <= len(fields) <= 3:
            text = fields[-1] if fields[-1].strip() else fields[1]
            name, suffix = os.path.splitext(fields[0].strip())
            is_path = suffix.lower() in ('.wav', '.flac', '.ogg', '.mp3')
            audio = fields[0].strip() if is_path or not fields[0].strip() else f'wavs/{fields[0].strip()}.wav'
            rows.append(Row(f'{path} line {number}', audio, text, '' if is_path else fields[0].strip()))
        elif line.strip():
            problems.append(Problem(BAD_LINE, f'{path} line {number}', f'{len(fields)} fields, not 2 or 3'))
    return rows, problems


def _read_json_lines(path: str, lines: list[str], audio_column: str | None, text_column: str | None) -> Table:
    rows: list[Row] = []
    problems: list[Problem] = []
    objects: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = decode_json(line, dict[str, Any], path, 'an utterance', 'write a JSON object', number)
                objects.append((f'{path} line {number}', value))
            except DataError as error:
                nan = ' (NaN and Infinity are no JSON)' if 'NaN' in line or 'Infinity' in line else ''
                detail = str(error).removeprefix(f'{path} line {number}: ')
                problems.append(Problem(BAD_LINE, f'{path} line {number}', f'{detail}{nan}'))
    if not objects:
        return Table('JSON Lines', rows, problems)
    names = list(dict.fromkeys(name for _, value in objects for name in value))
    columns = _Columns.of(names, audio_column, text_column)
    columns.check(path, names, audio_column, text_column)
    for place, value in objects:
        values = [value.get(name) if name else None for name in columns]
        wrong = [name for name, one in zip(columns[:2], values[:2], strict=True) if not isinstance(one, str | None)]
        if wrong:
            problems.append(Problem(BAD_LINE, place, f'{wrong[0]} is no text'))
            continue
        rows.append(_row(place, values, columns))
    return Table(f'JSON Lines, {columns}', rows, problems)
