"""The demo's corpus: its layout, its voices, and the same bytes every time."""

import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.demo_sentences import make_sentences
from scripts.make_demo_corpus import FIRST_SPEAKER, VOICES, plan_corpus

SCRIPT_PATH = Path(__file__).resolve().parents[1] / 'scripts' / 'make_demo_corpus.py'


def make(out: Path, *args: str) -> subprocess.CompletedProcess:
    """Runs the script in a process of its own: it forks, and pytest's process may hold TensorFlow's threads."""
    return subprocess.run([sys.executable, str(SCRIPT_PATH), str(out), *args], capture_output=True, text=True)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope='module')
def corpus(tmp_path_factory) -> Path:
    pytest.importorskip('espeakng_loader', reason='espeakng-loader is missing: see requirements-dev.txt')
    out = tmp_path_factory.mktemp('demo') / 'corpus'
    result = make(out, '--utterances', '3')
    assert result.returncode == 0, result.stderr
    assert '118 utterances' in result.stdout
    return out


def test_every_sentence_is_drawn_once():
    sentences = make_sentences(3000, random.Random(1))
    assert len(set(sentences)) == 3000
    assert all(sentence == ' '.join(sentence.split()) for sentence in sentences)


def test_the_vocabulary_is_small_and_common_to_the_subsets():
    words: dict[str, set[str]] = {subset: set() for subset in VOICES}
    for chapter in plan_corpus(seed=1, num_utterances=36):
        words[chapter.subset].update(word for utterance in chapter.utterances for word in utterance.text.split())
    assert len(words['train-clean-100']) < 80
    assert words['dev-clean'] | words['test-clean'] <= words['train-clean-100']


def test_held_out_voices_and_sentences_are_nowhere_in_training():
    chapters = plan_corpus(seed=1, num_utterances=36)
    variants = {subset: {voice.split('+')[1] for voice in voices} for subset, voices in VOICES.items()}
    assert sum(map(len, variants.values())) == len(set.union(*variants.values())) == len(chapters)
    assert len({chapter.speaker for chapter in chapters}) == len(chapters)
    texts = [utterance.text for chapter in chapters for utterance in chapter.utterances]
    assert len(set(texts)) == len(texts)


def test_the_plan_follows_its_seed():
    assert plan_corpus(1, 3) == plan_corpus(1, 3)
    assert plan_corpus(1, 3) != plan_corpus(2, 3)


def test_the_layout_is_librispeechs(corpus):
    soundfile = pytest.importorskip('soundfile')
    for subset, voices in VOICES.items():
        speakers = sorted(path.name for path in (corpus / subset).iterdir())
        assert speakers == [str(FIRST_SPEAKER[subset] + i) for i in range(len(voices))]
        for speaker in speakers:
            folder = corpus / subset / speaker / '1'
            lines = (folder / f'{speaker}-1.trans.txt').read_text().splitlines()
            ids = [line.split(' ', 1)[0] for line in lines]
            assert ids == [f'{speaker}-1-{i:04d}' for i in range(3 if subset == 'train-clean-100' else 2)]
            assert sorted(path.name for path in folder.glob('*.flac')) == [f'{name}.flac' for name in ids]
            for name in ids:
                info = soundfile.info(folder / f'{name}.flac')
                assert (info.samplerate, info.channels, info.subtype) == (16000, 1, 'PCM_16')
                assert 0.7 < info.duration < 8


def test_the_same_arguments_give_the_same_bytes(corpus, tmp_path):
    assert make(tmp_path / 'again', '--utterances', '3', '--jobs', '3').returncode == 0
    assert digests(tmp_path / 'again') == digests(corpus)


def test_a_killed_run_is_completed_to_the_same_bytes(corpus, tmp_path):
    half = tmp_path / 'half'
    shutil.copytree(corpus, half)
    shutil.rmtree(half / 'test-clean')
    chapter = half / 'dev-clean' / '202' / '1'
    (chapter / '202-1.trans.txt').unlink()
    (chapter / '202-1-0000.flac').write_bytes(b'fLaC')
    (chapter / '.202-1-0000.flac.1.tmp').touch()
    result = make(half, '--utterances', '3')
    assert result.returncode == 0 and '(5 new)' in result.stdout
    assert digests(half) == digests(corpus)


def test_another_seed_in_the_same_directory_is_refused(corpus):
    result = make(corpus, '--utterances', '3', '--seed', '2')
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(corpus) in line and 'delete it' in line


def test_a_directory_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    result = make(tmp_path)
    assert result.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_no_utterances_is_a_usage_error(tmp_path):
    result = make(tmp_path / 'corpus', '--utterances', '0')
    assert result.returncode == 2 and '--utterances: 0 must be at least 1' in result.stderr
    assert not (tmp_path / 'corpus').exists()
