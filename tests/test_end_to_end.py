"""The commands as a user calls them: a corpus of tones becomes features, a model, scores and text."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import run_train
from tests.processes import ROOT, command
from tests.tones import LETTER_SECS, SENTENCES
from utils.errors import run_main
from utils.train.checkpoint import Checkpoints

SMALL = '-md ds2 -f 40 -cl 1 -rl 1 -n 32 -a tanh -b 3 -k 1 -lr 5e-3'.split()


def start(script, *arguments):
    return subprocess.Popen([sys.executable, ROOT / script, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope='module')
def run_dir(features):
    """A run that has learned the tones."""
    path = features.parent.parent / 'run'
    done = command('run_train.py', *SMALL, '-p', '40', '-t', features, '-d', features, '-s', path)
    assert done.returncode == 0, done.stderr
    return path


def in_process(*arguments):
    """Runs run_train.py's main here, as `python run_train.py` does, and returns its status."""
    return run_main(lambda: run_train.main([str(argument) for argument in arguments]))


def test_the_run_directory_explains_itself(run_dir):
    names = {path.name for path in run_dir.iterdir()}
    assert {
        'config.json',
        'vocab.txt',
        'feature_statistics.npz',
        'checkpoints',
        'history.jsonl',
        'logs',
        'curves.png',
    } <= names
    config = json.loads((run_dir / 'config.json').read_text())
    assert config['model']['hidden_units'] == 32 and config['feature_spec'] == 'fbank-40-0.02-0.01'


def test_a_tiny_run_reaches_a_character_error_rate_of_zero(run_dir, features):
    done = command('run_test.py', '-s', run_dir, '-t', features)
    assert done.returncode == 0, done.stderr
    table = done.stdout.strip().splitlines()[-1].split()
    assert table[:3] == ['train', '6', '0.00']
    assert (run_dir / 'test/train/hypotheses.txt').read_text().splitlines()[1] == '1-2-0001\tbad'
    report = json.loads((run_dir / 'test/train/hypotheses.json').read_text())
    assert report['scores']['cer'] == 0 and report['scores']['characters']['hits'] == sum(map(len, SENTENCES))


def test_saved_posteriors_decode_to_the_same_texts_without_the_model(run_dir, features, tmp_path):
    test = ['run_test.py', '-s', run_dir, '-t', features, '--out', tmp_path / 'out']
    done = command(*test, '--save_posteriors')
    assert done.returncode == 0, done.stderr
    saved = (tmp_path / 'out/train/hypotheses.txt').read_text()
    for flags in ([], ['--beam_width', '20', '--nbest', '3']):
        done = command(*test, '--posteriors', tmp_path / 'out', *flags)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / 'out/train/hypotheses.txt').read_text() == saved
    first = json.loads((tmp_path / 'out/train/hypotheses.json').read_text())['utterances'][0]
    assert len(first['nbest']) == 3 and first['nbest'][0]['text'] == first['hypothesis']
    assert first['nbest'][0]['score'] == pytest.approx(first['log_prob'], abs=1e-3)
    assert first['nbest'][0]['score'] > first['nbest'][1]['score']
    decoding = json.loads((tmp_path / 'out/train/hypotheses.json').read_text())['decoding']
    assert (decoding['beam_width'], decoding['num_best']) == (20, 3) and decoding['weights'].startswith('model-')
    assert (tmp_path / 'out/train/hypotheses.json.bak').exists()
    other = shutil.copytree(run_dir, tmp_path / 'other')
    for path in (other / 'checkpoints').glob('*.index'):
        path.write_bytes(path.read_bytes() + b'0')
    done = command('run_test.py', '-s', other, '-t', features, '--posteriors', tmp_path / 'out')
    assert (done.returncode, done.stdout) == (1, '')
    assert re.search('posteriors.npz: of the weights (.*) of .*, not .*; write them again', done.stderr)


def test_a_damaged_checkpoint_is_one_line_of_the_command_that_reads_it(run_dir, features, tmp_path):
    shutil.copytree(run_dir, tmp_path / 'run')
    best = json.loads((tmp_path / 'run/checkpoints/best.json').read_text())['name']
    os.truncate(tmp_path / f'run/checkpoints/{best}.data-00000-of-00001', 1000)
    done = command('run_test.py', '-s', tmp_path / 'run', '-t', features)
    assert done.returncode == 1 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and f'{best}: damaged (Read less bytes than requested)' in done.stderr


def test_audio_becomes_text_with_times_of_its_words(run_dir, features):
    audio = features.parent.parent / 'corpus/train-clean-100/1/2'
    done = command('run_predict.py', '-s', run_dir, audio / '1-2-0002.flac')
    assert (done.returncode, done.stdout) == (0, 'cab bed\n'), done.stderr
    done = command('run_predict.py', '-s', run_dir, '--json', audio)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer['text'] for answer in answers] == SENTENCES
    cab, bed = answers[2]['words']
    spoken = 0.05 + 4 * (LETTER_SECS + 0.05)  # where "bed" begins
    assert cab['end'] < spoken + 0.1 and abs(bed['start'] - spoken) < 0.15
    assert 0.5 < cab['confidence'] <= 1


def test_mode_dev_scores_the_dev_files(run_dir, features, capsys):
    assert in_process('-m', 'dev', '-t', features, '-d', features, '-s', run_dir) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1].split()[:3] == ['train', '6', '0.00']
    assert (run_dir / 'dev/train/hypotheses.txt').exists()


def test_several_indexes_are_weighted_in_training_and_scored_by_name_on_dev(features, tmp_path, capfd):
    lines = [json.loads(line) for line in features.read_text().splitlines()]
    lines = [json.dumps({**line, 'key': str(features.parent / line['key'])}) for line in lines]
    indexes = [tmp_path / 'one/tones.json', tmp_path / 'two/tones.json']
    for path, part in zip(indexes, (lines[:2], lines[2:]), strict=True):
        path.parent.mkdir()
        path.write_text('\n'.join(part))
    flags = [*SMALL, '-p', '3', '-d', *indexes, '--train_weights', '2,0.5', '-s', tmp_path / 'run', '-t']
    assert in_process(*flags, indexes[0]) == 2
    assert '--train_weights 2,0.5 has 2 weights for 1 -t indexes' in capfd.readouterr().err
    done = command('run_train.py', *flags, *indexes)
    assert done.returncode == 0, done.stderr
    assert f'6 utterances: 4 of {indexes[0]} (weight 2), 2 of {indexes[1]} (weight 0.5)' in done.stderr
    assert re.search(r'epoch 2 step 6, tones-2: dev loss .*, WER .*%, CER .*%', done.stderr)
    assert json.loads((tmp_path / 'run/config.json').read_text())['train']['train_weights'] == [2, 0.5]
    record = json.loads((tmp_path / 'run/history.jsonl').read_text().splitlines()[-1])
    assert record['step'] == 6
    assert record['dev_loss'] == pytest.approx((2 * record['dev_loss/tones'] + 4 * record['dev_loss/tones-2']) / 6)
    scored = command('run_test.py', '-s', tmp_path / 'run', '-t', *indexes, '--checkpoint', 'latest')
    table = {row.split()[0]: row.split() for row in scored.stdout.splitlines()[-2:]}
    for name in ('tones', 'tones-2'):
        assert [f'{100 * record[f"{rate}/{name}"]:.2f}' for rate in ('wer', 'cer')] == table[name][2:7:4]
    (path,) = (tmp_path / 'run/logs').iterdir()
    tags = {value.tag for event in tf.train.summary_iterator(str(path)) for value in event.summary.value}
    assert {'dev/wer', 'dev/wer/tones', 'dev/cer/tones-2'} <= tags


def weights(path):
    checkpoints = Checkpoints(str(path))
    reader = tf.train.load_checkpoint(checkpoints.prefix(f'model-{checkpoints.steps()[-1]}'))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_run_killed_within_an_epoch_ends_with_the_same_weights(features, tmp_path):
    flags = [*SMALL, '-cl', '2', '-k', '0.8', '--time_masks', '1', '-p', '3', '-b', '2', '--checkpoint_secs', '0']
    flags += ['-t', features, '-d', features, '-s']
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert command('run_train.py', *flags, whole).returncode == 0
    process = start('run_train.py', *flags, killed)
    while not (killed / 'checkpoints/model-4.json').exists():  # the first batch of the second epoch is done
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = command('run_train.py', *flags, killed)
    assert done.returncode == 0 and 'resuming at step' in done.stderr
    ours, theirs = weights(whole), weights(killed)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name


def test_a_signal_saves_and_a_second_training_waits_for_the_end(features, tmp_path, capsys):
    process = start('run_train.py', *SMALL, '-p', '500', '-t', features, '-d', features, '-s', tmp_path / 'run')
    while not (tmp_path / 'run/history.jsonl').exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    for flags in ([], ['-r', 'no']):
        assert in_process(*SMALL, *flags, '-t', features, '-d', features, '-s', tmp_path / 'run') == 1
        (line,) = (each for each in capsys.readouterr().err.splitlines() if each.startswith('error: '))
        assert f'another training (process {process.pid} on ' in line
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert 'stopped by signal 15' in errors and 'Traceback' not in errors
    assert Checkpoints(str(tmp_path / 'run')).steps()


def test_a_file_too_large_for_the_disk_loses_nothing(features, tmp_path):
    flags = [*SMALL, '-p', '2', '-t', features, '-d', features, '-s', tmp_path / 'run']
    limit = 'import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);'
    limit += 'resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000));'
    code = f'{limit} import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = "run_train.py";'
    code += f'runpy.run_path({str(ROOT / "run_train.py")!r}, run_name="__main__")'
    done = subprocess.run([sys.executable, '-c', code, *map(str, flags)], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'cannot be written' in done.stderr and 'Traceback' not in done.stderr
    assert not Checkpoints(str(tmp_path / 'run')).steps()
    assert in_process(*flags) == 0


BAD_COMMANDS = {
    'a wrong number of classes': (['-c', '30'], 2, '-c 30 does not fit the vocabulary of 28 tokens'),
    'a feature size other than the index has': (['-f', '81'], 1, 'has 40 features a frame, -f says 81'),
    'a vocabulary that lacks a character': (['-v', 'VOCAB'], 1, "line 1 (1-2-0000): character 'c' is not in"),
    'a missing index': (['-t', 'nowhere.json'], 1, 'nowhere.json'),
    'two sizes of a step': (['--frames_per_batch', '500'], 2, '--frames_per_batch 500 and -b'),
    'a plateau that divides by one': (['--lr_schedule', 'plateau'], 2, '--lr_schedule plateau divides by --lr_decay'),
    'a vocabulary that is none': (['-v', 'INDEX'], 1, 'expected "TOKEN ID"'),
}


@pytest.mark.parametrize('name', BAD_COMMANDS)
def test_a_mistake_is_one_line_and_leaves_no_run(name, features, tmp_path, capfd):
    extra, status, message = BAD_COMMANDS[name]
    (tmp_path / 'vocab').write_text('<SPACE> 0\na 1\nb 2\n')
    places = {'VOCAB': tmp_path / 'vocab', 'INDEX': features}
    extra = [places.get(argument, argument) for argument in extra]
    assert in_process(*SMALL, '-t', features, '-d', features, '-s', tmp_path / 'run', *extra) == status
    errors = capfd.readouterr().err.strip().splitlines()
    assert [line for line in errors if line.startswith('error: ')] == errors[-1:]
    assert message in errors[-1] and 'Traceback' not in ''.join(errors)
    assert not (tmp_path / 'run').exists()


def test_another_first_epoch_moves_the_end_and_a_refused_command_leaves_the_run(features, tmp_path, capfd, caplog):
    def go_on(*more):
        flags = ['-t', features, '-d', features, '-s', tmp_path / 'run', '--lr_decay', '2']
        return in_process(*SMALL, *flags, *more)

    assert go_on('-p', '2') == 0
    config = (tmp_path / 'run/config.json').read_bytes()
    unspellable = tmp_path / 'unspellable.json'
    unspellable.write_text(features.read_text().replace('"1-2', f'"{features.parent}/1-2').replace('cab', 'cäb'))
    for mistake, status in (['-i', '3', '-p', '2'], 2), (['-i', '1'], 2), (['-lr', '1', '-t', unspellable], 1):
        assert go_on(*mistake) == status
        assert (tmp_path / 'run/config.json').read_bytes() == config
    assert 'began with epoch 0 and ends before epoch 2; give -i 2 or less' in capfd.readouterr().err
    for _ in range(2):  # the second time nothing is left to do
        with caplog.at_level('INFO'):
            assert go_on('-i', '2', '-p', '1') == 0
        records = [json.loads(line) for line in (tmp_path / 'run/history.jsonl').read_text().splitlines()]
        assert [(each['epoch'], each['learning_rate']) for each in records] == [(0, 5e-3), (1, 2.5e-3), (2, 1.25e-3)]
    assert 'the last is 2' in caplog.text


def test_flags_that_contradict_the_run_name_both_values(run_dir, features, capfd):
    assert in_process(*SMALL, '-n', '64', '-t', features, '-d', features, '-s', run_dir) == 2
    assert '-n 32, the command line says 64' in capfd.readouterr().err


def test_a_missing_feature_file_is_named_by_its_line(features, tmp_path, capfd):
    index = tmp_path / 'train.json'
    lines = [json.loads(line) for line in features.read_text().splitlines()]
    for line in lines:
        line['key'] = str(features.parent / line['key'])
    lines[2]['key'] = str(tmp_path / 'gone.npz')
    index.write_text('\n'.join(map(json.dumps, lines)))
    assert in_process(*SMALL, '-t', index, '-d', features, '-s', tmp_path / 'run') == 1
    assert f'{index} line 3 (gone)' in capfd.readouterr().err


def test_a_feature_file_damaged_during_training_is_named(features, tmp_path, capfd):
    damaged = tmp_path / 'damaged.npz'
    damaged.write_bytes(b'PK\x03\x04 not really')
    lines = [json.loads(line) for line in features.read_text().splitlines()]
    for line in lines:
        line['key'] = str(features.parent / line['key'])
    whole, broken = tmp_path / 'whole.json', tmp_path / 'broken.json'
    whole.write_text('\n'.join(map(json.dumps, lines)))
    lines[4]['key'] = str(damaged)
    broken.write_text('\n'.join(map(json.dumps, lines)))
    flags = [*SMALL, '-p', '1', '-d', whole, '-s', tmp_path / 'run']
    assert in_process(*flags, '-t', whole) == 0
    capfd.readouterr()
    assert in_process(*flags, '-p', '2', '-t', broken) == 1
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and f'{broken} line 5 (damaged)' in error


def test_a_new_run_keeps_the_old_one_aside(features, tmp_path):
    flags = [*SMALL, '-p', '1', '-t', features, '-d', features, '-s', tmp_path / 'run']
    assert in_process(*flags) == 0
    assert in_process(*flags, '-n', '16', '-r', 'no') == 0
    sizes = [
        json.loads((tmp_path / name / 'config.json').read_text())['model']['hidden_units'] for name in ('run', 'run.1')
    ]
    assert sizes == [16, 32]


def test_a_directory_that_is_no_run_is_not_touched(features, tmp_path, capfd):
    (tmp_path / 'thesis.tex').write_text('years of work')
    assert in_process(*SMALL, '-t', features, '-d', features, '-s', tmp_path) == 2
    assert 'is not empty and holds no run' in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']
