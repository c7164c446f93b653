"""Listen, Attend and Spell as a user trains, tests and transcribes with it."""

import json
import re

import pytest

from tests.processes import command
from tests.tones import SENTENCES
from utils.decode.tuning import CTC_SHARES, LENGTH_NORMS

SMALL = (
    '-md las -f 40 -rl 3 -n 96 -rc gru -b 6 -k 1 -lr 2e-3 --ctc_weight 0.5 --sample_prob 0 --lr_schedule cosine'.split()
)

EPOCHS = 10


@pytest.fixture(scope='module')
def las_run_dir(features):
    """A run that has learned to spell the tones."""
    path = features.parent.parent / 'las'
    flags = [*SMALL, '-p', str(EPOCHS), '--attention_images', '1', '--average_checkpoints', '0']
    # an epoch is its validation, pictures and checkpoint more than these few steps: many times the same utterances
    done = command('run_train.py', *flags, '-t', *[features] * 80, '-d', features, '-s', path)
    assert done.returncode == 0, done.stderr
    return path


def rates(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1].split()[:3]


def test_a_tiny_run_spells_without_an_error_greedily_and_with_a_beam(las_run_dir, features):
    test = ['run_test.py', '-s', las_run_dir, '-t', features]
    assert rates(command(*test, '--beam_width', '0')) == ['train', '6', '0.00']
    assert rates(command(*test, '--nbest', '2')) == ['train', '6', '0.00']
    first = json.loads((las_run_dir / 'test/train/hypotheses.json').read_text())['utterances'][0]
    best, second = first['nbest']
    assert best['text'] == first['hypothesis'] == SENTENCES[0] and best['score'] > second['score']


def test_every_validation_draws_where_it_listened(las_run_dir):
    pictures = sorted(path.name for path in (las_run_dir / 'attention').iterdir())
    assert len(pictures) == EPOCHS and len({name.split('-model')[0] for name in pictures}) == 1
    assert (las_run_dir / 'attention' / pictures[0]).read_bytes().startswith(b'\x89PNG')
    (record, *_) = map(json.loads, (las_run_dir / 'history.jsonl').read_text().splitlines())
    assert record['repeating'] >= 0


def test_words_have_the_times_of_the_attention(las_run_dir, features):
    audio = features.parent.parent / 'corpus/train-clean-100/1/2/1-2-0002.flac'
    done = command('run_predict.py', '-s', las_run_dir, '--json', audio)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer['text'] == 'cab bed'
    cab, bed = answer['words']
    assert 0 <= cab['start'] < cab['end'] <= answer['duration'] >= bed['end'] > bed['start'] >= cab['start']
    assert 0 < cab['confidence'] <= 1


@pytest.mark.parametrize('flags', [['--save_posteriors'], ['--beam_width', '0', '--coverage_weight', '1']])
def test_what_a_speller_cannot_do_is_one_line(las_run_dir, features, flags):
    done = command('run_test.py', '-s', las_run_dir, '-t', features, *flags)
    assert (done.returncode, done.stdout) == (2, '')
    assert len(done.stderr.strip().splitlines()) == 1 and 'leave' in done.stderr


def test_a_language_models_weights_are_those_of_a_beam_search_and_later_commands_take_them(
    las_run_dir,
    features,  # noqa: F811
    tmp_path,
):
    lm = tmp_path / 'lm.arpa'
    assert command('scripts/train_lm.py', '-o', '2', '-s', las_run_dir, '-l', lm, features).returncode == 0
    done = command('scripts/tune_lm.py', '-s', las_run_dir, '-d', features, '--lm', lm, '--beam_width', '4')
    assert done.returncode == 0, done.stderr
    tried = [line.split() for line in done.stdout.splitlines() if line.endswith((' 0', 'best', 'chosen'))]
    assert len(tried) > 3 and sum(line[-1] == 'best' for line in tried) == 1
    (tuned,) = json.loads((las_run_dir / 'decoding.json').read_text())['language_models']
    assert (tuned['beam_width'], tuned['wer']) == (4, 0.0)
    assert tuned['speller']['ctc_decode_weight'] in CTC_SHARES and tuned['speller']['length_norm'] in LENGTH_NORMS
    assert re.search(r'^greedy WER .* %.*, beam .* %.*; with .*ctc_decode_weight', done.stdout, re.MULTILINE)
    assert [f'{tuned["lm_weight"]:.4g}', f'{tuned["word_bonus"]:.4g}'] in [line[:2] for line in tried]
    assert (las_run_dir / 'tune' / 'lm.png').read_bytes().startswith(b'\x89PNG')
    tested = command('run_test.py', '-s', las_run_dir, '-t', features, '--lm', lm)
    assert rates(tested) == ['train', '6', '0.00']
    assert f'lm_weight {tuned["lm_weight"]:g} (decoding.json)' in tested.stderr
    assert f'length_norm {tuned["speller"]["length_norm"]:g} (decoding.json)' in tested.stderr
