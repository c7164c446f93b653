"""AN4 as CMU distributes it (an4_sphere, an4_raw.bigendian), converted to LibriSpeech's layout.

Speakers, whom AN4 names by initials, get numbers from 1000 in alphabetical order, those of its test set after the
others. Of the 74 training speakers the last ten are dev-clean (1064 to 1073) and the others train-clean-100; the test
set is test-clean. Each speaker has one chapter, 1, with the utterances in alphabetical order of their names.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from utils.errors import DataError

FIRST_SPEAKER, NUM_DEV_SPEAKERS, SAMPLE_RATE = 1000, 10, 16000
SUFFIXES = ('.sph', '.raw')
_TRANSCRIPT = re.compile(r'(?:<s>)?\s*([^<(]*?)\s*(?:</s>)?\s*\((\S+)\)')
_REMEDY = 'unpack AN4 again'


class Subset(NamedTuple):
    """A sub-directory of the result, with its numbers of speakers and utterances and the seconds of audio."""

    name: str
    num_speakers: int
    num_utterances: int
    duration_secs: float


def convert(source: str, target: str) -> list[Subset]:
    """Writes the directory ``target``, which appears when it is complete.

    Args:
      source: directory an4/ of the unpacked archive, with etc/ and wav/.
      target: directory to create.

    Raises:
      DataError: ``target`` exists, or the archive is incomplete.
    """
    if os.path.exists(target):
        raise DataError(f'{target} exists; remove it or name another directory')
    train, test = (_read_speakers(Path(source), part) for part in ('train', 'test'))
    if len(train) <= NUM_DEV_SPEAKERS:
        raise DataError(f'{source}: {len(train)} training speakers, of which {NUM_DEV_SPEAKERS} become dev; {_REMEDY}')
    train_names, test_names = sorted(train), sorted(test)
    members = {
        'train-clean-100': train_names[:-NUM_DEV_SPEAKERS],
        'dev-clean': train_names[-NUM_DEV_SPEAKERS:],
        'test-clean': test_names,
    }
    numbers = {
        (part, name): FIRST_SPEAKER + position
        for position, (part, name) in enumerate([('train', n) for n in train_names] + [('test', n) for n in test_names])
    }
    with _appearing(target) as directory:
        subsets = []
        for subset, names in members.items():
            part, utterances_of = ('test', test) if subset == 'test-clean' else ('train', train)
            secs = [
                _write_speaker(directory / subset, numbers[part, name], sorted(utterances_of[name])) for name in names
            ]
            subsets.append(Subset(subset, len(names), sum(len(utterances_of[name]) for name in names), sum(secs)))
        for path in Path(source).iterdir():
            if path.is_file() and path.name.upper().startswith(('LICENSE', 'README')):
                shutil.copyfile(path, directory / path.name)
    return subsets


@contextlib.contextmanager
def _appearing(target: str) -> Iterator[Path]:
    """Yields a new directory beside ``target``; renames it to that in the end, or removes it after a failure."""
    path = Path(os.path.abspath(target))
    partial = path.with_name(f'.{path.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _read_speakers(source: Path, part: str) -> dict[str, list[tuple[str, str, Path]]]:
    """Name, transcript and audio file of each utterance of a part (train, test), by speaker."""
    texts: dict[str, str] = {}
    for where, line in _lines(source / 'etc' / f'an4_{part}.transcription'):
        found = _TRANSCRIPT.fullmatch(line)
        if not found or not found[1]:
            raise DataError(f'{where}: not a transcript like "<s> YES </s> (an251-fash-b)"; {_REMEDY}')
        texts[found[2]] = ' '.join(found[1].upper().split())
    speakers: dict[str, list[tuple[str, str, Path]]] = {}
    for where, line in _lines(source / 'etc' / f'an4_{part}.fileids'):
        folder, speaker, name = line.split('/') if line.count('/') == 2 else ('..', '', '')
        if '..' in (folder, speaker):
            raise DataError(f'{where}: not a path like an4_clstk/fash/an251-fash-b; {_REMEDY}')
        paths = [source / 'wav' / folder / speaker / (name + suffix) for suffix in SUFFIXES]
        audio_path = next((path for path in paths if path.is_file()), None)
        if audio_path is None or name not in texts:
            raise DataError(f'{where}: {name} has no {"transcript" if audio_path else "audio in wav/"}; {_REMEDY}')
        speakers.setdefault(speaker, []).append((name, texts[name], audio_path))
    return speakers


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line that is not empty."""
    if not path.is_file():
        raise DataError(f'{path}: no such file; give the directory an4/ of the archive, which has etc/ and wav/')
    for number, line in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines(), 1):
        if line.strip():
            yield f'{path} line {number}', line.strip()


def _write_speaker(directory: Path, number: int, utterances: list[tuple[str, str, Path]]) -> float:
    """Writes FLACs and transcripts of a speaker; returns the seconds of audio."""
    chapter = directory / f'{number}' / '1'
    chapter.mkdir(parents=True)
    lines, num_samples = [], 0
    for position, (_, text, audio_path) in enumerate(utterances):
        samples = _read_samples(audio_path)
        utterance_id = f'{number}-1-{position:04}'
        soundfile.write(chapter / f'{utterance_id}.flac', samples, SAMPLE_RATE, subtype='PCM_16')
        lines.append(f'{utterance_id} {text}\n')
        num_samples += len(samples)
    (chapter / f'{number}-1.trans.txt').write_text(''.join(lines), encoding='utf-8', newline='\n')
    return num_samples / SAMPLE_RATE


def _read_samples(path: Path) -> np.ndarray:
    """Samples of a SPHERE file, or of a raw one, which has 16 bits, big-endian, int16 `[samples]`."""
    if path.suffix == '.raw':
        samples, rate = np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], '>i2'), SAMPLE_RATE
    else:
        try:
            samples, rate = soundfile.read(path, dtype='int16')
        except soundfile.LibsndfileError as error:
            raise DataError(f'{path}: cannot be read ({error.error_string}); {_REMEDY}') from None
    if rate != SAMPLE_RATE or samples.ndim != 1 or not len(samples):
        raise DataError(f'{path}: {len(samples)} samples at {rate} Hz, not mono at {SAMPLE_RATE} Hz; {_REMEDY}')
    return samples.astype(np.int16)
