#!/usr/bin/env python3
"""Synthesizes a small corpus in LibriSpeech's layout with eSpeak NG, for the demo.

The same arguments give the same files, byte for byte. The voices of dev-clean and test-clean do not occur in
train-clean-100, and no sentence occurs twice.
"""

import fcntl
import hashlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs from any directory

from scripts.demo_sentences import make_sentences  # noqa: E402
from utils.cli import Parser, number  # noqa: E402
from utils.errors import DataError, run_main  # noqa: E402
from utils.files import replacing, write_text  # noqa: E402

SAMPLE_RATE = 16000

# Accent + variant. A variant is a speaker (formants, pitch, breath); those of dev and test occur in no other subset.
VOICES = {
    'train-clean-100': (
        'en-us+m1', 'en+m2', 'en-us+m4', 'en-gb-x-rp+m5', 'en-us+m6', 'en+m7', 'en-us-nyc+Alex', 'en-us+Denis',
        'en-gb-scotland+Gene', 'en-us+pedro', 'en-gb-x-gbclan+max', 'en-us+Mario', 'en-us+Andy', 'en+antonio',
        'en-us+paul', 'en-gb-x-rp+sandro', 'en-us+ed', 'en+Diogo', 'en-us+quincy', 'en-029+Jacky', 'en-us+victor',
        'en-gb-x-rp+travis', 'en-us+Storm', 'en-us+f1', 'en+f2', 'en-us+f4', 'en-gb-x-rp+f5', 'en-us+Andrea',
        'en-gb-x-gbcwmd+Annie', 'en-gb-x-rp+aunty', 'en-us+shelby', 'en-us+Alicia', 'en-029+grandma', 'en-us+anika',
    ),
    'dev-clean': ('en-us+m3', 'en+f3', 'en-us+steph', 'en-gb-x-rp+Michael'),
    'test-clean': ('en-us+m8', 'en+robert', 'en-us+linda', 'en-gb-x-rp+Nguyen'),
}  # fmt: skip
FIRST_SPEAKER = {'train-clean-100': 101, 'dev-clean': 201, 'test-clean': 301}


@dataclass(frozen=True)
class Utterance:
    """One line of a transcript with all settings of its synthesis."""

    utterance_id: str
    text: str
    voice: str
    words_per_minute: int
    pitch: int
    pitch_range: int
    seed: int


@dataclass(frozen=True)
class Chapter:
    """All utterances of one speaker: one directory of the corpus."""

    subset: str
    speaker: int
    utterances: tuple[Utterance, ...]

    @property
    def folder(self) -> Path:
        return Path(self.subset, str(self.speaker), '1')

    @property
    def transcript_name(self) -> str:
        return f'{self.speaker}-1.trans.txt'


def plan_chapter(
    subset: str, speaker: int, voice: str, texts: list[str], speed: int, pitch: int, rng: random.Random
) -> Chapter:
    """Chapter of a voice whose utterances vary about its speed (words a minute) and pitch (0 to 99)."""
    utterances = (
        Utterance(
            utterance_id=f'{speaker}-1-{index:04d}',
            text=text,
            voice=voice,
            words_per_minute=speed + rng.randint(-12, 12),
            pitch=pitch + rng.randint(-8, 8),
            pitch_range=rng.randint(35, 65),
            seed=rng.randrange(2**31),
        )
        for index, text in enumerate(texts)
    )
    return Chapter(subset, speaker, tuple(utterances))


def plan_corpus(seed: int, num_utterances: int) -> list[Chapter]:
    """Assigns sentences and settings to voices; a pure function of its arguments.

    Args:
      seed: random seed of sentences, voices and noise.
      num_utterances: utterances of each training voice; held-out voices get two thirds as many.

    Returns:
      One chapter per voice.
    """
    rng = random.Random(seed)
    sizes = {
        name: num_utterances if name.startswith('train') else num_utterances - num_utterances // 3 for name in VOICES
    }
    sentences = iter(make_sentences(sum(sizes[name] * len(voices) for name, voices in VOICES.items()), rng))
    chapters = []
    for subset, voices in VOICES.items():
        for speaker, voice in enumerate(voices, FIRST_SPEAKER[subset]):
            speed, pitch = rng.randint(150, 190), rng.randint(40, 60)
            texts = [text.upper() for text in itertools.islice(sentences, sizes[subset])]
            chapters.append(plan_chapter(subset, speaker, voice, texts, speed, pitch, rng))
    return chapters


def render(utterance: Utterance, espeak) -> 'np.ndarray':
    """Samples of an utterance at 16 kHz: synthesized speech of random loudness with background noise."""
    import numpy as np
    from scipy.signal import lfilter, resample_poly

    settings = (utterance.words_per_minute, utterance.pitch, utterance.pitch_range, utterance.seed)
    spoken = espeak.speak(utterance.text.lower(), utterance.voice, *settings)
    rng = np.random.default_rng(utterance.seed)
    speech = resample_poly(spoken, SAMPLE_RATE, espeak.sample_rate)
    speech = np.pad(speech, rng.integers(SAMPLE_RATE // 20, SAMPLE_RATE // 4, size=2))
    speech *= 10 ** (rng.uniform(-30, -20) / 20) / speech.std()
    colour = rng.uniform(0.0, 0.95)  # from white noise to a low rumble
    noise = lfilter([1.0], [1.0, -colour], rng.standard_normal(len(speech)))
    noise *= speech.std() * 10 ** (-rng.uniform(15, 35) / 20) / noise.std()
    return np.clip(speech + noise, -1.0, 1.0)


def speak_chapter(task: tuple[Path, Chapter]) -> None:
    """Synthesizes a chapter in a fresh process; its transcript is written last and marks it as complete."""
    import soundfile

    from scripts.espeak import Espeak

    out, chapter = task
    folder, espeak = out / chapter.folder, Espeak()
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
    folder.mkdir(parents=True)
    for utterance in chapter.utterances:
        samples = render(utterance, espeak)
        with replacing(folder / f'{utterance.utterance_id}.flac') as path:
            soundfile.write(path, samples, SAMPLE_RATE, format='FLAC', subtype='PCM_16')
    lines = (f'{utterance.utterance_id} {utterance.text}\n' for utterance in chapter.utterances)
    write_text(folder / chapter.transcript_name, ''.join(lines))


def speak_all(out: Path, chapters: list[Chapter], num_workers: int) -> None:
    """Synthesizes each chapter in a child process of its own, because eSpeak's state outlives an utterance."""
    from tqdm import tqdm

    try:
        import espeakng_loader  # noqa: F401
        import scipy.signal  # noqa: F401  here, so that no child needs to load it again
        import soundfile  # noqa: F401
    except ImportError as error:
        raise DataError(f'{error}; pip install -r scripts/requirements-demo.txt') from error
    context = multiprocessing.get_context('fork')
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)  # only the parent handles Ctrl-C, and ends the children
    tasks = [(out, chapter) for chapter in chapters]
    with context.Pool(num_workers, signal.signal, ignore_interrupt, maxtasksperchild=1) as pool:
        for _ in tqdm(pool.imap_unordered(speak_chapter, tasks), total=len(tasks), unit='voice', desc='synthesizing'):
            pass


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock on a directory: prevents two processes from writing the same corpus."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DataError(f'{folder}: another process is writing this corpus; wait for it to end') from None
    try:
        yield
    finally:
        os.close(handle)


def check_same_plan(out: Path, chapters: list[Chapter]) -> None:
    """Raises DataError if the directory holds another corpus or other files."""
    digest_path, digest = out / 'plan.sha256', hashlib.sha256(repr(chapters).encode()).hexdigest()
    if digest_path.exists():
        if digest_path.read_text().strip() != digest:
            raise DataError(f'{out}: holds a corpus of another seed, size or version of this script; delete it first')
    elif any(out.iterdir()):
        raise DataError(f'{out}: holds other files; name a directory that is empty or not there yet')
    write_text(digest_path, f'{digest}\n')


def write_speakers(out: Path, chapters: list[Chapter]) -> float:
    """Writes the table of speakers (the sex column is empty: voices have none); returns the duration in hours."""
    import soundfile

    table, total_secs = [';ID  |SEX| SUBSET           |MINUTES| NAME\n'], 0.0
    for chapter in chapters:
        paths = [out / chapter.folder / f'{utterance.utterance_id}.flac' for utterance in chapter.utterances]
        secs = sum(soundfile.info(path).duration for path in paths)
        total_secs += secs
        voice = chapter.utterances[0].voice
        table.append(f'{chapter.speaker:<5}|   | {chapter.subset:<17}| {secs / 60:5.2f} | {voice}\n')
    write_text(out / 'SPEAKERS.TXT', ''.join(table))
    return total_secs / 3600


def make_corpus(out: Path, seed: int, num_utterances: int, num_workers: int) -> str:
    """Synthesizes the missing chapters of a corpus; returns a one-line summary."""
    chapters = plan_corpus(seed, num_utterances)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        check_same_plan(out, chapters)
        missing = [chapter for chapter in chapters if not (out / chapter.folder / chapter.transcript_name).exists()]
        if missing:
            speak_all(out, missing, num_workers)
        hours = write_speakers(out, chapters)
    voices = ', '.join(f'{len(voices)} in {subset}' for subset, voices in VOICES.items())
    num_utterances = sum(len(chapter.utterances) for chapter in chapters)
    return f'{out}: {num_utterances} utterances, {hours:.2f} hours; voices: {voices} ({len(missing)} new)'


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog='make_demo_corpus.py', description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='corpus directory; missing files are created')
    parser.add_argument('--seed', type=number(int), default=1, help='random seed of sentences, voices and noise')
    parser.add_argument(
        '--utterances', type=number(int, 1, 500), default=36, help='per training voice; two thirds per held-out voice'
    )
    jobs = os.cpu_count() or 1
    parser.add_argument('--jobs', type=number(int, 1, 1024), default=jobs, help='number of parallel processes')
    args = parser.parse_args(argv)
    print(make_corpus(args.out, args.seed, args.utterances, args.jobs))
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
