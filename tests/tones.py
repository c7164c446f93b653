"""A corpus that a model learns in seconds: every letter is a tone of its own."""

import numpy as np
import pytest
import soundfile

from tests.processes import command

LETTERS = 'abcde'
LETTER_SECS = 0.12
SENTENCES = ['abc de', 'bad', 'cab bed', 'dab ace', 'ebb add', 'deed cab']


def speak(text, rng):
    """A tone a letter, silence for spaces and between letters; float `[samples]` at 16 kHz."""
    time = np.arange(int(LETTER_SECS * 16000)) / 16000
    silence = np.zeros(int(0.05 * 16000))
    pieces = [silence]
    for letter in text:
        pitch = 400 * 1.5 ** LETTERS.find(letter)
        pieces += [0 * time if letter == ' ' else 0.3 * np.sin(2 * np.pi * pitch * time), silence]
    samples = np.concatenate(pieces)
    return samples + 0.003 * rng.normal(size=len(samples))


def write_corpus(path, name='train-clean-100', sentences=SENTENCES):
    """Writes a corpus in LibriSpeech's layout: one speaker, one chapter."""
    rng = np.random.default_rng(0)
    folder = path / name / '1' / '2'
    folder.mkdir(parents=True)
    lines = []
    for i, text in enumerate(sentences):
        soundfile.write(folder / f'1-2-{i:04}.flac', speak(text, rng), 16000)
        lines.append(f'1-2-{i:04} {text.upper()}\n')
    (folder / '1-2.trans.txt').write_text(''.join(lines))
    return path


@pytest.fixture(scope='module')
def features(tmp_path_factory):
    """The index of the tones' features."""
    path = tmp_path_factory.mktemp('tones')
    write_corpus(path / 'corpus')
    index = path / 'features' / 'train.json'
    done = command('libri_preprocess.py', '-n', 'train-clean-100', path / 'corpus', path / 'features', index)
    assert done.returncode == 0, done.stderr
    return index
