"""Manifests as corpora: the recordings that a table or a Kaldi data directory lists, with safe and unique names."""

import math
import os
import zlib
from collections import Counter
from typing import NamedTuple

from utils.data.corpora import Problem, Recording
from utils.data.kaldi import KALDI_FILES, read_kaldi
from utils.data.manifest_tables import BAD_LINE, Row, Table, read_table
from utils.errors import CONTROL, DataError, UsageError

_MAX_NAME_BYTES = 180  # file systems take 255, of which a temporary file needs some
_PROBED = 200  # rows by which the folder of the audio is found


class Manifest(NamedTuple):
    """A manifest: its recordings, what is left out, and a description of its format."""

    recordings: list[Recording]
    problems: list[Problem]
    description: str


class _Located(NamedTuple):
    """A row with the path of its recording and its segment in seconds."""

    row: Row
    path: str
    start_secs: float
    end_secs: float | None


def read_manifest(
    path: str, audio_column: str | None = None, text_column: str | None = None, audio_root: str | None = None
) -> Manifest:
    """Reads a manifest of any format that `utils/data/README.md` lists.

    Args:
      path: a file, or a Kaldi data directory.
      audio_column: name of the column of audio paths; None: a known name.
      text_column: name of the column of transcripts; None: a known name.
      audio_root: directory that audio paths are relative to; None: the manifest's, ``clips/`` or ``wavs/`` in it, or
        its parent, whichever has the files.

    Raises:
      DataError: the manifest cannot be read, or its format is not recognised.
      UsageError: an argument does not fit the format.
    """
    if audio_root is not None and not os.path.isdir(audio_root):
        raise UsageError(f'--audio_root {audio_root} is no directory; give the one that audio paths are relative to')
    if os.path.basename(path) in KALDI_FILES and os.path.exists(os.path.join(os.path.dirname(path), 'wav.scp')):
        path = os.path.dirname(path) or '.'
    table = _read(path, audio_column, text_column)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or '.'
    root = audio_root if audio_root is not None else _find_root(table.rows, folder)
    problems = list(table.problems)
    located = _locate(table.rows, root, problems)
    identity = f'{os.path.realpath(path)}\n{os.path.realpath(root)}'  # two manifests may have the same name
    stem = os.path.splitext(os.path.basename(os.path.realpath(path)))[0]
    prefix = f'{_safe(stem)}-{zlib.crc32(os.fsencode(identity)):08x}'
    description = f'{path}: {table.description}; audio paths are relative to {root}'
    return Manifest(_recordings(located, root, prefix), problems, description)


def _read(path: str, audio_column: str | None, text_column: str | None) -> Table:
    if not os.path.isdir(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f'{path}: not a regular file; give a manifest')  # reading a FIFO would block
        return read_table(path, audio_column, text_column)
    if not os.path.exists(os.path.join(path, 'wav.scp')):
        found = [name for name in ('metadata.csv', 'metadata.jsonl') if os.path.exists(os.path.join(path, name))]
        remedy = f'give {os.path.join(path, found[0])}' if found else 'give a manifest file or a Kaldi data directory'
        raise DataError(f'{path}: a directory without wav.scp; {remedy}')
    for flag, value in (('--audio_column', audio_column), ('--text_column', text_column)):
        if value:
            raise UsageError(f'{flag} {value}: {path} is a Kaldi data directory, which has no columns; leave it out')
    return read_kaldi(path)


def _find_root(rows: list[Row], folder: str) -> str:
    """The folder in which most of some rows' recordings are."""
    audio = [row.audio for row in rows[:: max(1, len(rows) // _PROBED)] if not os.path.isabs(row.audio)]
    parent = os.path.normpath(os.path.join(folder, os.pardir))
    candidates = [folder, os.path.join(folder, 'clips'), os.path.join(folder, 'wavs'), parent]
    return max(candidates, key=lambda root: sum(os.path.isfile(os.path.join(root, each)) for each in audio))


def _locate(rows: list[Row], root: str, problems: list[Problem]) -> list[_Located]:
    """Rows whose text, recording and times are there; the others are added to the problems."""
    located = []
    files: dict[str, tuple[str, str]] = {}  # path without .. and what is wrong with the file
    first_of: dict[tuple, Row] = {}
    for row in rows:
        row = row._replace(audio=row.audio.strip(), text=' '.join(row.text.split()), speaker=row.speaker.strip())
        kind, detail = _check_text(row)
        if not kind:
            if row.audio not in files:
                path = os.path.normpath(os.path.join(root, row.audio))
                files[row.audio] = path, _check_file(path)
            path, detail = files[row.audio]
            kind = 'audio that is missing' if detail else ''
        if not kind:
            start, end, detail = _segment(row)
            kind = 'segment without valid times' if detail else ''
        if not kind:
            first = first_of.setdefault((row.name, path, start, end), row)
            if first is not row:
                text = 'the same text' if first.text == row.text else 'another text'
                kind, detail = 'duplicate utterance', f'{row.name or row.audio} has {text} on {first.place}'
        if kind:
            problems.append(Problem(kind, f'{row.place} ({row.name})' if row.name else row.place, detail))
        else:
            located.append(_Located(row, path, start, end))
    return located


def _check_text(row: Row) -> tuple[str, str]:
    """Kind and description of what is wrong with the texts of a row; empty: nothing."""
    for value in (row.name, row.audio, row.text, row.speaker):
        if '\ufffd' in value:
            return BAD_LINE, 'not UTF-8; save it as UTF-8'
    if CONTROL.search(row.name + row.audio + row.speaker):
        return BAD_LINE, f'control characters in {ascii(row.name or row.audio)}'
    if not row.audio:
        return BAD_LINE, 'no audio path in it'
    return ('', '') if row.text else ('empty text', row.audio if not row.name else '')


def _check_file(path: str) -> str:
    if os.path.isfile(path):
        return ''
    return f'{path}: {"not a regular file" if os.path.exists(path) else "no such file"}'


def _segment(row: Row) -> tuple[float, float | None, str]:
    """Start and end in seconds, and what is wrong with them."""
    if row.start is None:
        return 0.0, None, ''
    try:
        start = float(row.start)
        end = None if row.end is None else float(row.end)
        if row.duration is not None:
            end = start + float(row.duration)
    except (TypeError, ValueError):
        given = ', '.join(str(each) for each in (row.start, row.end, row.duration) if each is not None)
        return 0.0, None, f'{given[:60]}: not numbers of seconds'
    if 0 <= start < math.inf and (end is None or start < end < math.inf):
        return start, end, ''
    return 0.0, None, f'from {start:g} s to {"the end" if end is None else f"{end:g} s"}'


def _recordings(located: list[_Located], root: str, prefix: str) -> list[Recording]:
    """Recordings with names that are unique and safe as names of files, whatever paths the manifest has."""
    root = os.path.abspath(root)
    folders_of: dict[str, list[str]] = {}
    for each in located:
        if each.path not in folders_of:
            folders_of[each.path] = _folders(each.path, root)
    names = [_name(each) for each in located]
    counts, used = Counter(names), Counter[str]()
    recordings = []
    for each, name in zip(located, names, strict=True):
        folders = folders_of[each.path]
        name = _safe('-'.join([*folders, name]) if counts[name] > 1 else name)
        used[name] += 1
        while used[name] > 1:  # such as a.wav and a.flac in one folder
            name = f'{name}-{used[name]}'
            used[name] += 1
        row, relative_path = each.row, '/'.join([prefix, *folders, name])
        recordings.append(
            Recording(name, each.path, row.text, row.speaker, relative_path, each.start_secs, each.end_secs, row.place)
        )
    return recordings


def _folders(path: str, root: str) -> list[str]:
    """Names of the folders of a recording, below the root or absolute, without ``..``."""
    folder = os.path.dirname(os.path.abspath(path))
    relative = os.path.relpath(folder, root)
    is_below = relative.split(os.sep)[0] != os.pardir
    return [_safe(part) for part in (relative if is_below else folder).split(os.sep) if part not in ('', os.curdir)]


def _name(located: _Located) -> str:
    """Name of an utterance: its id, or the name of its recording with the segment in milliseconds."""
    if located.row.name:
        return located.row.name
    stem, start, end = os.path.splitext(os.path.basename(located.path))[0], located.start_secs, located.end_secs
    if located.row.start is None:
        return stem
    return f'{stem}-{round(start * 1000):07d}-{"end" if end is None else f"{round(end * 1000):07d}"}'


def _safe(name: str) -> str:
    """The name as one of a file; a long one is cut, with a checksum of the whole."""
    name = name.replace(os.sep, '_').replace('\0', '_')
    data = os.fsencode(name)
    if len(data) > _MAX_NAME_BYTES:
        return f'{data[: _MAX_NAME_BYTES - 9].decode("utf-8", "ignore")}-{zlib.crc32(data):08x}'
    return f'_{name}' if name in ('', os.curdir, os.pardir) else name
