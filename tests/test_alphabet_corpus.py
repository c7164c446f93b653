"""The Russian and German corpora: their alphabets, held-out sentences and voices, and their manifests."""

import csv
import io
import random
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.alphabet_sentences import GRAMMARS, make_sentences
from scripts.make_alphabet_corpus import NUM_DEV, VOICES, manifest, plan_corpus
from utils.data.alphabet import CharacterCounts, TranscriptNormaliser

SCRIPT_PATH = Path(__file__).resolve().parents[1] / 'scripts' / 'make_alphabet_corpus.py'


@pytest.mark.parametrize('language', ['de', 'ru'])
def test_sentences_are_distinct_and_have_every_letter_often(language):
    sentences = make_sentences(language, 800, random.Random(1))
    assert len(set(sentences)) == 800
    assert all(each[0].isupper() and each.endswith('.') and each == ' '.join(each.split()) for each in sentences)
    normalise = TranscriptNormaliser('lower', 'drop')
    texts = [normalise(each) for each in sentences]
    assert normalise.dropped.keys() == {',', '.'}
    characters = CharacterCounts(enumerate(texts))
    assert ''.join(sorted(characters.counts)) == ''.join(sorted(f' {GRAMMARS[language].alphabet}'))
    assert characters.report() == []  # no letter is rare, and no letter is of another script
    assert len({word for text in texts for word in text.split()}) > 150


@pytest.mark.parametrize('language', ['de', 'ru'])
def test_the_voice_and_the_sentences_of_dev_are_nowhere_in_training(language):
    chapters = plan_corpus(language, seed=1, num_utterances=32)
    assert chapters == plan_corpus(language, seed=1, num_utterances=32) != plan_corpus(language, 2, 32)
    voices = {each.voice for chapter in chapters for each in chapter.utterances}
    assert voices == {f'{language}+{variant}' for variants in VOICES.values() for variant in variants}
    assert not set(VOICES['train']) & set(VOICES['dev'])
    texts = [each.text for chapter in chapters for each in chapter.utterances]
    assert len(set(texts)) == len(texts) == 32 * len(VOICES['train']) + NUM_DEV
    assert len({chapter.speaker for chapter in chapters}) == len(chapters)


def test_the_manifest_has_the_columns_of_common_voice():
    (chapter,) = plan_corpus('de', 1, 1)[-1:]
    rows = list(csv.DictReader(io.StringIO(manifest([chapter]))))
    assert len(rows) == NUM_DEV
    assert rows[0]['client_id'] == '201' and rows[0]['path'] == 'dev/201/1/201-1-0000.flac'
    assert [row['sentence'] for row in rows] == [each.text for each in chapter.utterances]


def test_the_script_writes_the_recordings_of_its_manifests(tmp_path):
    pytest.importorskip('espeakng_loader', reason='espeakng-loader is missing: see requirements-dev.txt')
    soundfile = pytest.importorskip('soundfile')
    command = [sys.executable, str(SCRIPT_PATH), 'ru', str(tmp_path / 'ru'), '--utterances', '1']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f'{len(VOICES["train"]) + NUM_DEV} sentences' in done.stdout and '(25 new)' in done.stdout
    for subset in VOICES:
        rows = list(csv.DictReader((tmp_path / 'ru' / f'{subset}.csv').open(encoding='utf-8')))
        assert {row['path'] for row in rows} == {
            path.relative_to(tmp_path / 'ru').as_posix() for path in (tmp_path / 'ru' / subset).rglob('*.flac')
        }
    info = soundfile.info(tmp_path / 'ru' / rows[0]['path'])
    assert info.samplerate == 16000 and 1 < info.duration < 10
    assert '(0 new)' in subprocess.run(command, capture_output=True, text=True).stdout
