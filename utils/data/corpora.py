"""Corpus readers: the recordings of LibriSpeech and THCHS-30 with their transcripts. They write nothing."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from utils.data.vocabulary import UNITS
from utils.errors import CONTROL, DataError, describe_os_error

if TYPE_CHECKING:
    from utils.data.perturb import Perturbation

AUDIO_SUFFIXES = ('.flac', '.wav', '.ogg')

_NO_TRANSCRIPT = 'audio without a transcript'
_NO_AUDIO = 'transcript without audio'
_BAD_TRANSCRIPT = 'transcript that cannot be read'


class Recording(NamedTuple):
    """An utterance of a corpus.

    Attributes:
      utterance_id: name of the utterance.
      audio_path: path of the recording that holds it.
      text: its transcript.
      speaker: name of the speaker; empty: unknown.
      relative_path: path of its feature file below SAVE, without the suffix.
      start_secs: start of the utterance in the recording, seconds.
      end_secs: its end, seconds; None: the end of the recording.
      place: file and line that name it, for messages; empty: the utterance's name is enough.
      change: what makes it an augmented copy; None: the utterance as it was recorded.
    """

    utterance_id: str
    audio_path: str
    text: str
    speaker: str
    relative_path: str
    start_secs: float = 0.0
    end_secs: float | None = None
    place: str = ''
    change: 'Perturbation | None' = None

    @property
    def where(self) -> str:
        """Place and name of the utterance, for messages: ``train.csv line 812 (84-121-0003)``."""
        return f'{self.place} ({self.utterance_id})' if self.place else self.utterance_id


class Problem(NamedTuple):
    """An item that was left out; problems are counted by ``kind``, ``where`` and ``detail`` describe this one."""

    kind: str
    where: str
    detail: str = ''


def librispeech(path: str, name: str) -> tuple[list[Recording], list[Problem]]:
    """Reads ``SPEAKER-CHAPTER-UTT.flac`` and ``SPEAKER-CHAPTER.trans.txt`` in ``path/name/SPEAKER/CHAPTER/``.

    Raises:
      DataError: no such directory, or nothing in it.
    """
    root = _sub_corpus(path, name)
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for speaker in _directories(root, problems):
        for chapter in _directories(os.path.join(root, speaker), problems):
            directory = os.path.join(root, speaker, chapter)
            texts, audio = _read_chapter(directory, problems)
            for utterance_id in sorted(texts.keys() | audio.keys()):
                if utterance_id not in texts:
                    problems.append(Problem(_NO_TRANSCRIPT, audio[utterance_id]))
                elif utterance_id not in audio:
                    problems.append(Problem(_NO_AUDIO, utterance_id, f'in {directory}'))
                elif texts[utterance_id]:
                    relative_path = '/'.join([name, speaker, chapter, utterance_id])
                    recordings.append(
                        Recording(utterance_id, audio[utterance_id], texts[utterance_id], speaker, relative_path)
                    )
    _check_not_empty(root, 'SPEAKER/CHAPTER/*.flac', recordings, problems)
    return recordings, problems


def thchs30(path: str, name: str, unit: str) -> tuple[list[Recording], list[Problem]]:
    """Reads ``path/name/*.wav`` with ``*.wav.trn``: three lines, or the relative path of a file that has them.

    Args:
      path: corpus directory.
      name: its sub-directory: train, dev or test.
      unit: line of the transcripts to read: char, pinyin or phone.

    Raises:
      DataError: no such directory, or nothing in it.
    """
    root = _sub_corpus(path, name)
    recordings: list[Recording] = []
    problems: list[Problem] = []
    audio, transcripts = {}, {}
    for file in _files(root, problems):
        stem, suffix = os.path.splitext(file)
        if suffix.lower() in AUDIO_SUFFIXES:
            audio[stem] = file
        elif suffix.lower() == '.trn':
            transcripts[os.path.splitext(stem)[0]] = file
    for stem in sorted(audio.keys() | transcripts.keys()):
        if stem not in audio:
            problems.append(Problem(_NO_AUDIO, stem, f'in {root}'))
        elif stem not in transcripts:
            problems.append(Problem(_NO_TRANSCRIPT, os.path.join(root, audio[stem])))
        else:
            try:
                text = _read_trn(os.path.join(root, transcripts[stem]), unit)
            except (DataError, OSError, UnicodeDecodeError) as error:
                problems.append(Problem(_BAD_TRANSCRIPT, transcripts[stem], _reason(error)))
                continue
            audio_path = os.path.join(root, audio[stem])
            if not os.path.exists(audio_path):  # a link that unpacking broke
                audio_path = os.path.join(path, 'data', audio[stem])
            recordings.append(Recording(stem, audio_path, text, stem.split('_')[0], f'{name}/{stem}'))
    _check_not_empty(root, '*.wav', recordings, problems)
    return recordings, problems


def _sub_corpus(path: str, name: str) -> str:
    """``path/name``; a `DataError` if it is missing or cannot be read."""
    root = os.path.join(path, name)
    try:
        present = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != '.')
        if name in present:
            with os.scandir(root):
                return root
    except OSError as error:
        raise DataError(f'{describe_os_error(error)}; give the corpus directory that holds {name}/') from error
    others = f'there are {", ".join(present[:8])}{", ..." if len(present) > 8 else ""}' if present else 'it is empty'
    raise DataError(f'{path}: no {name}/ in it ({others}); give the directory that holds {name}/, or another -n')


def _directories(directory: str, problems: list[Problem]) -> list[str]:
    names = []
    for entry in _entries(directory, problems):
        if entry.is_dir():
            names.append(entry.name)
        elif entry.name.lower().endswith(AUDIO_SUFFIXES):
            problems.append(Problem('audio outside of SPEAKER/CHAPTER', entry.path))
    return sorted(names)


def _files(directory: str, problems: list[Problem]) -> list[str]:
    entries = [entry for entry in _entries(directory, problems) if not entry.is_dir()]
    special = sorted(entry.path for entry in entries if os.path.exists(entry.path) and not entry.is_file())
    problems += [Problem('not a regular file', path) for path in special]  # reading a FIFO would block
    return sorted(entry.name for entry in entries if entry.path not in special)


def _entries(directory: str, problems: list[Problem]) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if CONTROL.search(entry.name):  # the index and hypotheses.txt could not hold it
                    problems.append(Problem('name with control characters or not in UTF-8', entry.path))
                elif not entry.name.startswith('.'):
                    yield entry
    except OSError as error:
        problems.append(Problem('directory that cannot be read', describe_os_error(error)))


def _read_chapter(directory: str, problems: list[Problem]) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and audio paths of a chapter, by utterance. A text is '' if its problem is already in ``problems``."""
    texts: dict[str, str] = {}
    audio: dict[str, str] = {}
    for file in _files(directory, problems):
        stem, suffix = os.path.splitext(file)
        if suffix.lower() in AUDIO_SUFFIXES:
            audio.setdefault(stem, os.path.join(directory, file))  # sorted: the FLAC before its copies
        elif file.lower().endswith('.trans.txt'):
            _read_trans(os.path.join(directory, file), texts, problems)
    return texts, audio


def _read_trans(path: str, texts: dict[str, str], problems: list[Problem]) -> None:
    """Adds the lines ``UTTERANCE TEXT`` of a file to ``texts``; of two that differ in case only, the last counts."""
    try:
        with open(path, 'rb') as stream:
            lines = stream.read().removeprefix(b'\xef\xbb\xbf').splitlines()
    except OSError as error:
        problems.append(Problem(_BAD_TRANSCRIPT, describe_os_error(error)))
        return
    for number, line in enumerate(lines, 1):
        utterance_id, _, text = line.decode('utf-8', 'replace').strip().replace('\t', ' ').partition(' ')
        if not utterance_id:
            continue
        text = ' '.join(text.split())
        complaint = 'not UTF-8' if '\ufffd' in text else '' if text else 'no words'
        if not complaint and texts.get(utterance_id, text).lower() != text.lower():
            complaint = 'a second, different transcript'
        if complaint:
            problems.append(Problem(_BAD_TRANSCRIPT, f'{path} line {number} ({utterance_id})', complaint))
        texts[utterance_id] = '' if complaint else text


def _read_trn(path: str, unit: str) -> str:
    lines = _read_lines(path)
    if len(lines) == 1 and lines[0].lower().endswith('.trn'):
        lines = _read_lines(os.path.join(os.path.dirname(path), lines[0]))
        if len(lines) == 1 and lines[0].endswith('.trn'):
            raise DataError(f'leads to {lines[0]}, which is not a transcript')
    row = UNITS.index(unit)
    units = lines[row].split() if row < len(lines) else []
    if not units:
        raise DataError(f'no line {row + 1}, which has the {unit} transcript')
    if CONTROL.search(''.join(units)):
        raise DataError('control characters in it')
    return ('' if unit == 'char' else ' ').join(units)


def _read_lines(path: str) -> list[str]:
    with open(path, encoding='utf-8-sig') as stream:
        return stream.read().rstrip().split('\n')  # the first line may be empty


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return 'not UTF-8'
    return describe_os_error(error) if isinstance(error, OSError) else str(error)


def _check_not_empty(root: str, pattern: str, recordings: list[Recording], problems: list[Problem]) -> None:
    if not recordings and not problems:
        raise DataError(f'{root}: no {pattern} in it; unpack the corpus again, or name another directory')
