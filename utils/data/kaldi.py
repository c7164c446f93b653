"""Kaldi data directories: ``wav.scp``, ``text`` and, where they exist, ``segments`` and ``utt2spk``."""

import os

from utils.data.corpora import Problem
from utils.data.manifest_tables import BAD_LINE, Row, Table, read_lines
from utils.errors import DataError

KALDI_FILES = ('wav.scp', 'text', 'segments', 'utt2spk')

_NO_TRANSCRIPT = 'audio without a transcript'
_NO_AUDIO = 'transcript without audio'
_COMMAND = 'wav.scp line that is a command'

_Lines = dict[str, tuple[str, str]]  # place and rest of the line, by its first word


def read_kaldi(directory: str) -> Table:
    """Reads a data directory; the commands that a ``wav.scp`` can have are refused, never run.

    Raises:
      DataError: ``wav.scp`` or ``text`` is missing.
    """
    problems: list[Problem] = []
    present = {name for name in KALDI_FILES if os.path.exists(f'{directory}/{name}')}
    for name in ('wav.scp', 'text'):
        if name not in present:
            raise DataError(f'{directory}: no {name} in it; a Kaldi data directory has wav.scp and text')
    files = {name: _read_file(os.path.join(directory, name), problems) for name in sorted(present)}
    refused = _refuse_commands(files['wav.scp'], problems)
    segments, texts, speakers = files.get('segments'), files['text'], files.get('utt2spk', {})
    if segments is None:
        rows = [Row(place, audio, '', name) for name, (place, audio) in files['wav.scp'].items()]
    else:
        rows = _segment_rows(segments, files['wav.scp'], refused, problems)
    problems += [Problem(_NO_TRANSCRIPT, f'{row.place} ({row.name})') for row in rows if row.name not in texts]
    has_audio = (files['wav.scp'].keys() | refused) if segments is None else segments.keys()
    problems += [Problem(_NO_AUDIO, f'{texts[name][0]} ({name})') for name in texts if name not in has_audio]
    rows = [
        row._replace(text=texts[row.name][1], speaker=speakers.get(row.name, ('', ''))[1])
        for row in rows
        if row.name in texts
    ]
    parts = ', '.join(name for name in KALDI_FILES if name in present)
    return Table(f'Kaldi data directory: {parts}{"" if speakers else "; no speakers"}', rows, problems)


def _read_file(path: str, problems: list[Problem]) -> _Lines:
    lines: _Lines = {}
    for number, line in enumerate(read_lines(path), 1):
        name, *rest = line.split(maxsplit=1)[:2] or ['']
        if name in lines:
            detail = f'{name} is the name of {lines[name][0]} too'
            problems.append(Problem('duplicate id', f'{path} line {number}', detail))
        elif name:
            lines[name] = f'{path} line {number}', rest[0].strip() if rest else ''
    return lines


def _refuse_commands(scp: _Lines, problems: list[Problem]) -> set[str]:
    """Removes the lines that are commands; returns their names."""
    refused = {name for name, (_, audio) in scp.items() if audio.endswith('|')}
    for name in refused:
        place, command = scp.pop(name)
        shown = command if len(command) <= 60 else f'{command[:57]}...'
        detail = f'{shown}: commands are never run; write its output to a file and name that'
        problems.append(Problem(_COMMAND, f'{place} ({name})', detail))
    return refused


def _segment_rows(segments: _Lines, scp: _Lines, refused: set[str], problems: list[Problem]) -> list[Row]:
    rows = []
    for name, (place, rest) in segments.items():
        fields = rest.split()
        if len(fields) not in (3, 4):  # the fourth is a channel
            problems.append(Problem(BAD_LINE, place, f'"{name} {rest}" is not UTTERANCE RECORDING START END'))
        elif len(fields) == 4 and fields[3] != '0':
            problems.append(Problem(BAD_LINE, place, f'channel {fields[3]}; only whole recordings are read, mixed'))
        elif fields[0] not in scp:
            reason = 'is a command in wav.scp' if fields[0] in refused else 'is not in wav.scp'
            problems.append(Problem('segment without a recording', f'{place} ({name})', f'{fields[0]} {reason}'))
        else:
            end = None if fields[2] == '-1' else fields[2]  # Kaldi's end of the recording
            rows.append(Row(place, scp[fields[0]][1], '', name, start=fields[1], end=end))
    return rows
