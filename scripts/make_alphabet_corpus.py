#!/usr/bin/env python3
"""Synthesizes a small Russian or German corpus with eSpeak NG and writes its manifests, train.csv and dev.csv.

The same arguments give the same files, byte for byte. The voice of dev.csv does not occur in train.csv, and neither
does any of its sentences.
"""

import csv
import io
import itertools
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs from any directory

from scripts.alphabet_sentences import GRAMMARS, make_sentences  # noqa: E402
from scripts.make_demo_corpus import Chapter, check_same_plan, locked, plan_chapter, speak_all  # noqa: E402
from utils.cli import Parser, number  # noqa: E402
from utils.errors import run_main  # noqa: E402
from utils.files import write_text  # noqa: E402

# Variants of eSpeak's voice of a language; a variant is a speaker (formants, pitch, breath).
VOICES = {
    'train': (
        'm1', 'm2', 'm4', 'm5', 'm6', 'm7', 'Alex', 'Denis', 'pedro', 'max', 'Mario', 'Andy', 'antonio', 'quincy',
        'f1', 'f2', 'f4', 'f5', 'Andrea', 'Annie', 'shelby', 'Alicia', 'anika', 'linda',
    ),
    'dev': ('m3',),
}  # fmt: skip
NUM_DEV = 100  # sentences of the held-out voice
MANIFEST_HEADER = ('client_id', 'path', 'sentence')  # as in Common Voice


def plan_corpus(language: str, seed: int, num_utterances: int) -> list[Chapter]:
    """Assigns sentences and settings to voices; a pure function of its arguments.

    Args:
      language: de or ru.
      seed: random seed of sentences, voices and noise.
      num_utterances: utterances of each training voice.

    Returns:
      One chapter per voice.
    """
    rng = random.Random(seed)
    sizes = {'train': num_utterances, 'dev': NUM_DEV}
    total = sum(sizes[subset] * len(voices) for subset, voices in VOICES.items())
    sentences = iter(make_sentences(language, total, rng))
    chapters = []
    for subset, voices in VOICES.items():
        for speaker, voice in enumerate(voices, 101 if subset == 'train' else 201):
            speed, pitch = rng.randint(150, 185), rng.randint(42, 58)
            texts = list(itertools.islice(sentences, sizes[subset]))
            chapters.append(plan_chapter(subset, speaker, f'{language}+{voice}', texts, speed, pitch, rng))
    return chapters


def manifest(chapters: list[Chapter]) -> str:
    """CSV text with the speaker, the path and the sentence of each utterance."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(MANIFEST_HEADER)
    for chapter in chapters:
        for each in chapter.utterances:
            writer.writerow([chapter.speaker, f'{chapter.folder.as_posix()}/{each.utterance_id}.flac', each.text])
    return stream.getvalue()


def make_corpus(out: Path, language: str, seed: int, num_utterances: int, num_workers: int) -> str:
    """Synthesizes the missing chapters and writes the manifests last; returns a one-line summary."""
    chapters = plan_corpus(language, seed, num_utterances)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        check_same_plan(out, chapters)
        missing = [chapter for chapter in chapters if not (out / chapter.folder / chapter.transcript_name).exists()]
        if missing:
            speak_all(out, missing, num_workers)
        for subset in VOICES:
            write_text(out / f'{subset}.csv', manifest([each for each in chapters if each.subset == subset]))
    num_sentences = sum(len(chapter.utterances) for chapter in chapters)
    voices = ', '.join(f'{len(voices)} in {subset}.csv' for subset, voices in VOICES.items())
    return f'{out}: {num_sentences} sentences; voices: {voices} ({len(missing)} new)'


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog='make_alphabet_corpus.py', description=__doc__.splitlines()[0])
    parser.add_argument('language', choices=sorted(GRAMMARS), help='language of the corpus')
    parser.add_argument('out', type=Path, help='corpus directory; missing files are created')
    parser.add_argument('--seed', type=number(int), default=1, help='random seed of sentences, voices and noise')
    parser.add_argument('--utterances', type=number(int, 1, 500), default=32, help='utterances of each training voice')
    jobs = os.cpu_count() or 1
    parser.add_argument('--jobs', type=number(int, 1, 1024), default=jobs, help='number of parallel processes')
    args = parser.parse_args(argv)
    print(make_corpus(args.out, args.language, args.seed, args.utterances, args.jobs))
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
