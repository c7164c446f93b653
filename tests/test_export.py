"""Exports in processes without this project, against the recognition here; random weights, noise and odd signals."""

import functools
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from models.config import ModelConfig
from scripts import export as command
from tests.live_runs import write_live_run
from utils.data.features import extract
from utils.errors import DataError, UsageError
from utils.export import package
from utils.export.package import ExportOptions
from utils.recognition.alignment import PosteriorKeeper
from utils.recognition.recognizer import load_recognizer
from utils.run_directory import Run

ROOT = Path(__file__).parent.parent
WHOLE = {'bidirectional': True, 'activation': 'tanh'}
RUNS = {
    'gru': {**WHOLE, 'conv_layers': 1},
    'lstm': {'mode': 'mfcc', 'rnn_cell': 'lstm', 'activation': 'tanh', 'dense_layers': 1, 'conv_layers': 1},
    'ds1': {**WHOLE, 'model': 'ds1', 'mode': 'log', 'rnn_cell': 'rnn', 'rnn_layers': 1, 'frame_stride': 2},
    'las': {**WHOLE, 'model': 'las', 'rnn_layers': 3, 'conv_layers': 0, 'rnn_cell': 'lstm'},
}
TFLITE = ['--format', 'tflite']
EXPORTS = {
    'gru-saved': ('gru', []),
    'ds1-saved': ('ds1', []),
    'las-saved': ('las', []),
    'gru-whole': ('gru', TFLITE),
    'gru-int8': ('gru', [*TFLITE, '--quantize', 'int8']),
    'ds1-whole': ('ds1', TFLITE),
    'lstm-stream': ('lstm', [*TFLITE, '--stream', '--chunk_frames', '3']),
}
EXPORTING = """
import sys
from scripts.export import main
from utils.errors import run_main
sys.exit(max(run_main(lambda: main(line.split('\\t'))) for line in sys.argv[1:]))
"""
# batches of the SavedModels have noise beyond each length
CALLING = """
import runpy, sys
import numpy as np
sounds = np.load('sounds.npz')
sounds = [sounds[name] for name in sounds.files]
for name in sys.argv[2:]:
    if sys.argv[1] == 'saved':
        model = runpy.run_path(f'{name}/example.py', run_name='example')['MODEL']
        samples = np.full([len(sounds), 50000], np.nan, np.float32)
        for row, sound in zip(samples, sounds):
            row[: len(sound)] = sound
        outputs = model(samples=samples, lengths=np.array([len(sound) for sound in sounds], np.int32))
        np.savez(f'{name}.npz', **{key: value.numpy() for key, value in outputs.items() if key != 'text'},
                 text=outputs['text'].numpy().astype('S'))
    else:
        example = runpy.run_path(f'{name}/example.py', run_name='example')
        np.savez(f'{name}.npz', *[example['log_probs'](sound) for sound in sounds])
    sys.argv, arguments = [f'{name}/example.py', 'sound.wav'], sys.argv
    runpy.run_path(f'{name}/example.py', run_name='__main__')
    sys.argv = arguments
assert not {'utils', 'models'} & set(sys.modules)
"""


def noise(secs, seed):
    """Noise whose colour and loudness change every 80 ms, in steps of 16 bits, as WAV files have them."""
    rng = np.random.default_rng(seed)
    pieces = [rng.uniform(0.001, 0.3) * np.convolve(rng.normal(size=1320), rng.normal(size=41), 'valid') / 6
              for _ in range(round(secs / 0.08))]  # fmt: skip
    steps = np.clip(np.round(np.concatenate(pieces)[:-7] * 32768), -32768, 32767)
    return (steps / 32768).astype(np.float32)


SOUNDS = {
    'long': noise(2.4, 1), 'short': noise(0.64, 2), 'one window': noise(0.08, 3)[:320],
    'one frame more': noise(0.08, 4)[:321], 'shorter than a window': noise(0.08, 5)[:319],
    'silence': np.zeros(16000, np.float32),
    'constant': np.full(8000, 0.5, np.float32), 'clipped': 900 * noise(0.8, 6),
}  # fmt: skip
TOO_SHORT = list(SOUNDS).index('shorter than a window')


def run_isolated(arguments, code, cwd):
    environment = {'PATH': os.environ['PATH'], 'TF_CPP_MIN_LOG_LEVEL': '3'}
    line = [sys.executable, '-I', '-c', code, *arguments]
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Runs, their exports NAME, the outputs of each NAME.npz, and the texts that the examples printed in texts.json."""
    path = tmp_path_factory.mktemp('export')
    for name, settings in RUNS.items():
        write_live_run(path / 'runs' / name, **settings)
    np.savez(path / 'sounds.npz', *SOUNDS.values())
    with wave.open(str(path / 'sound.wav'), 'wb') as file:
        file.setparams((1, 2, 16000, 0, 'NONE', ''))
        file.writeframes(np.round(SOUNDS['long'] * 32768).astype('<i2').tobytes())
    exports = [['-s', f'{path}/runs/{run}', f'{path}/{name}', *flags] for name, (run, flags) in EXPORTS.items()]
    lines = map('\t'.join, exports)
    done = subprocess.run([sys.executable, '-c', EXPORTING, *lines], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    texts = {}
    for kind in ('saved', 'tflite'):
        names = [name for name in EXPORTS if (name.endswith('saved')) == (kind == 'saved')]
        texts.update(zip(names, run_isolated([kind, *names], CALLING, path), strict=True))
    (path / 'texts.json').write_text(json.dumps(texts))
    return path


@pytest.fixture(scope='module')
def expected(folder):
    """expected(run) -> log-posteriors and texts of SOUNDS by the recogniser here, one recording at a time."""
    @functools.cache
    def recognize(name):
        recognizer = load_recognizer(Run.open(str(folder / 'runs' / name)))
        found = []
        for index, samples in enumerate(SOUNDS.values()):
            if index == TOO_SHORT:
                found.append((np.zeros([0, 29], np.float32), ''))
                continue
            features = [extract(samples, recognizer.spec)]
            (hypothesis,) = recognizer.recognize(features, 1)
            text = ' '.join(recognizer.vocabulary.decode(hypothesis.ids).split())
            log_probs = None
            if recognizer.config.family == 'ctc':
                recognizer._decoder = PosteriorKeeper()
                (log_probs,) = recognizer.recognize(features, 1)
                recognizer._decoder = None
            found.append((log_probs if log_probs is not None else hypothesis, text))
        return found

    return recognize


@pytest.mark.parametrize('name', ['gru', 'ds1'])
def test_a_saved_model_gives_posteriors_and_texts_whatever_the_padding(folder, expected, name):
    found = np.load(folder / f'{name}-saved.npz')
    for i, (log_probs, text) in enumerate(expected(name)):
        length = found['frame_lengths'][i]
        assert length == len(log_probs)
        np.testing.assert_allclose(found['log_probs'][i, :length], log_probs, atol=1e-3, err_msg=list(SOUNDS)[i])
        assert not found['log_probs'][i, length:].any()
        assert found['text'][i].decode() == text
    assert len(set(found['text'])) > 4


def test_a_saved_model_spells(folder, expected):
    found = np.load(folder / 'las-saved.npz')
    for i, (hypothesis, text) in enumerate(expected('las')):
        length = found['symbol_lengths'][i]
        assert found['text'][i].decode() == text
        if i == TOO_SHORT:
            assert length == 0
            continue
        assert found['ids'][i, :length].tolist() == list(hypothesis.ids)
        log_probs = [span.log_prob for span in hypothesis.frames]
        np.testing.assert_allclose(found['log_probs'][i, :length], log_probs, atol=1e-3)
    assert len(set(found['text'])) > 3


@pytest.mark.parametrize('name', ['gru-whole', 'ds1-whole', 'lstm-stream'])
def test_tflite_gives_the_posteriors_of_whole_recordings(folder, expected, name):
    found = np.load(folder / f'{name}.npz')
    for i, (log_probs, _) in enumerate(expected(name.split('-')[0])):
        if name == 'ds1-whole' and list(SOUNDS)[i] == 'constant':
            continue  # a log spectrum with empty bins, which float32 cannot show
        rows = found[f'arr_{i}']
        assert rows.shape == log_probs.shape
        np.testing.assert_allclose(rows, log_probs, atol=1e-3, err_msg=list(SOUNDS)[i])


def test_int8_is_smaller_and_close(folder, expected):
    whole, small = ((folder / name / 'model.tflite').stat().st_size for name in ('gru-whole', 'gru-int8'))
    assert small < 0.75 * whole  # most of these small matrices stay in float32
    found = np.load(folder / 'gru-int8.npz')
    for i, (log_probs, _) in enumerate(expected('gru')):
        if len(log_probs):
            assert np.abs(np.exp(found[f'arr_{i}']) - np.exp(log_probs)).mean() < 0.02


def test_the_examples_print_the_text_of_a_file(folder, expected):
    texts = json.loads((folder / 'texts.json').read_text())
    for name, (run, flags) in EXPORTS.items():
        if '--quantize' not in flags:
            assert texts[name] == expected(run)[0][1], name
    assert len(set(texts.values())) > 3


@pytest.mark.parametrize('name', EXPORTS)
def test_the_directory_has_the_vocabulary_and_a_readme_with_the_example(folder, name):
    path, run = folder / name, EXPORTS[name][0]
    model = {'saved_model.pb', 'fingerprint.pb', 'variables'} if name.endswith('saved') else {'model.tflite'}
    assert {each.name for each in path.iterdir()} - {'assets'} == {'README.md', 'example.py', 'vocab.txt', *model}
    assert (path / 'vocab.txt').read_text() == (folder / 'runs' / run / 'vocab.txt').read_text()
    readme = (path / 'README.md').read_text()
    assert (path / 'example.py').read_text() in readme
    assert all(f'| `{name}` |' in readme for name in np.load(folder / f'{name}.npz').files if 'arr' not in name)


@pytest.mark.parametrize(
    ('config', 'options', 'words'),
    [
        (ModelConfig('las'), ExportOptions('tflite'), 'give --format saved_model'),
        (ModelConfig('ds2'), ExportOptions('tflite', chunk_frames=4), 'run_train.py -md ds2 -ub no'),
        (ModelConfig('ds1', bidirectional=False), ExportOptions('tflite', chunk_frames=4), 'the whole recording'),
        (ModelConfig('ds2'), ExportOptions(quantization='int8'), '--quantize int8 is for TFLite'),
        (ModelConfig('ds2', bidirectional=False), ExportOptions(chunk_frames=4), '--stream is for TFLite'),
    ],
)
def test_a_form_that_a_model_cannot_have_is_refused_with_what_to_do(config, options, words):
    with pytest.raises(UsageError, match=words):
        options.check(config, 'RUN')


def test_sizes_of_chunks_without_chunks_are_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        command.parse_args(['-s', 'run', 'out', '--chunk_frames', '4'])
    assert caught.value.code == 2 and '--chunk_frames is for --stream' in capsys.readouterr().err


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(DataError, match=f'{tmp_path}: no config.json here'):
        command.main(['-s', str(tmp_path), str(tmp_path / 'out')])


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(DataError, match='other files than an export .notes.txt.'):
        package._check_is_free(tmp_path)
    with pytest.raises(DataError, match='no directory'):
        package._check_is_free(tmp_path / 'notes.txt')
    package._check_is_free(tmp_path / 'new')


def test_a_directory_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'parent' / 'out'
    with package._replacing_directory(path) as new:
        (new / 'README.md').write_text('one')
        assert not path.exists()
    with pytest.raises(OSError, match='full'), package._replacing_directory(path) as new:
        (new / 'README.md').write_text('two')
        raise OSError('full')
    assert (path / 'README.md').read_text() == 'one'
    with package._replacing_directory(path) as new:
        (new / 'model.tflite').write_text('three')
    assert [each.name for each in path.iterdir()] == ['model.tflite']
    assert [each.name for each in path.parent.iterdir()] == ['out']
