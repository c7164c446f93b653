"""Damaged and foreign files: each reader returns a valid value or raises one `DataError` that names the file."""

import io
import itertools
import json
import math
import os
import random
import time
import zipfile

import numpy as np
import pytest

from models.config import ModelConfig
from tests.indexes import make_index
from utils.config import TrainConfig
from utils.data.index import read_index
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.decode.options import read_tuned
from utils.errors import DataError
from utils.lm.text import read_sentences
from utils.recognition.posteriors import Posteriors, rounded
from utils.run_directory import Run, RunConfig
from utils.train.checkpoint import Checkpoints, TrainState
from utils.train.history import History

NUM_MUTATIONS = 400
HUNG_SECS = 60  # of a reader that would not end; a quick one takes milliseconds
FEATURES = 13
TUNED = {
    'language_models': [
        {'lm': 'a.arpa', 'lm_id': '7-ab', 'unit': 'word', 'lm_weight': 1.5, 'word_bonus': 1.0, 'beam_width': 32}
        | {'lexicon': 'no', 'checkpoint': 'best', 'dev': ['dev.json'], 'wer': 0.5, 'cer': 0.25, 'wer_without': None}
        | {'cer_without': 0.5, 'speller': {'temperature': 1.0}}
    ]
}
RECORD = {'epoch': 0, 'step': 4, 'train_loss': 1.5, 'dev_loss': None, 'wer': 0.5, 'cer': 0.25, 'learning_rate': 1e-3}
VALUES = (None, True, -1, 0, 2**31 - 1, 2**31, 10**30, 1.5, -1e308, '', 'x', '\ud800', 'a\x1b[2J\n', '../../x', [], {})
JSON_VALUES = (*VALUES, [[1]], {'a': None}, math.nan, math.inf)
DTYPES = ('c8', 'U4', 'M8[s]', 'O', '?', 'f2', 'f8', '>f4', 'i2', 'u8', [('a', 'f4')])
BYTES = (b'', b'\xff\xfe', b'<!DOCTYPE html><html></html>', b'\0' * 300, b'[' * 100_000, b'{"a":' * 100_000, b'null')


@pytest.fixture
def run(tmp_path):
    """A run directory with an index, posteriors, checkpoints and records, all of them sound."""
    index = make_index(tmp_path, [(4, 'ab'), (6, 'b a')], FEATURES)
    config = RunConfig(ModelConfig(features=FEATURES), TrainConfig(train_files=('t',)), 'mfcc-13-0.02-0.01')
    statistics = FeatureStatistics(np.zeros(FEATURES, 'f'), np.ones(FEATURES, 'f'))
    run = Run.create(str(tmp_path), config, Vocabulary.english(), statistics)
    checkpoints = Checkpoints(run.path)
    state = TrainState(step=4, epoch=1, progress={'train_loss': 1.5}, plan=[['t'], 16], shares=[(1, 0), (1, 0)])
    checkpoints.note(state)
    (tmp_path / 'checkpoints/model-4.index').touch()
    checkpoints.note_best('model-4', {'error': 0.5, 'dev_loss': math.inf, 'wer': 0.5})
    (tmp_path / 'decoding.json').write_text(json.dumps(TUNED))
    (tmp_path / 'history.jsonl').write_text(''.join(json.dumps(RECORD | {'step': step}) + '\n' for step in (4, 8)))
    log_probs = [rounded(np.full((frames, 29), -3.0)) for frames in (2, 3)]
    Posteriors.of(log_probs, index, run.vocabulary.tokens, run.path, 'best', 'model-4').save(tmp_path)
    return run


def read_utterances(path):
    index = read_index([path], verify=True)
    assert 0 < len(index) == len(index.texts) and index.frames.min() > 0 and (index.durations > 0).all()
    for row in range(len(index)):
        features = index.features(row, index.spec.featlen)
        assert features.dtype == np.float32 and np.isfinite(features).all() and len(features) == index.frames[row]


def read_history(path):
    history = History(path, 10**6, 'nats')
    assert all(record['step'] >= 0 and record['epoch'] >= 0 for record in history.records)
    history.add(RECORD | {'step': 12})


def read_statistics(path):
    mean, std = FeatureStatistics.load(path, FEATURES)
    assert mean.shape == std.shape == (FEATURES,) and np.isfinite(mean).all() and (std > 0).all()


def read_state(path):
    state = Checkpoints(path).state(4)
    assert state.step == 4 and state.epoch >= 0 and state.batch >= 0 and state.plateau_scale > 0
    assert all(len(share) == 2 for share in state.shares)


def read_best(path):
    best = Checkpoints(path).best()
    assert '/' not in best['name'] and isinstance(best['error'] < best['dev_loss'], bool)


def read_posteriors(path):
    found = Posteriors.load(f'{path}/posteriors.npz')
    assert sum(map(len, found.utterances())) == len(found.log_probs) and np.isfinite(found.log_probs).all()


# file, and reader of the run directory
READERS = [
    ('train.json', lambda path: read_utterances(f'{path}/train.json')),
    ('train.json', lambda path: list(read_sentences([f'{path}/train.json']))),
    ('0.npz', lambda path: read_utterances(f'{path}/train.json')),
    ('config.json', RunConfig.load),
    ('vocab.txt', Run.open),
    ('feature_statistics.npz', read_statistics),
    ('checkpoints/model-4.json', read_state),
    ('checkpoints/best.json', read_best),
    ('decoding.json', read_tuned),
    ('history.jsonl', read_history),
    ('posteriors.npz', read_posteriors),
]


def places(value, path=()):
    """Paths to all values within a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def change_json(value, rng):
    """Replaces, removes, or adds a value in a random place."""
    *path, last = rng.choice([path for path in places(value) if path])
    inner = value
    for key in path:
        inner = inner[key]
    how = rng.randrange(4)
    if how == 0:
        del inner[last]
    elif how == 1 and isinstance(inner, dict):
        inner[rng.choice(['colour', '', '\x1b', 'a' * 9999])] = rng.choice(JSON_VALUES)
    else:
        inner[last] = rng.choice(JSON_VALUES)
    return json.dumps(value).encode()


def change_npz(data, rng):
    """Replaces an array by one of another type, shape or value, or lies about its size."""
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    how = rng.randrange(5)
    if how == 0:
        del arrays[name]
    elif how == 1:
        arrays[name] = np.zeros(array.shape, rng.choice(DTYPES))
    elif how == 2:
        shape = rng.choice([(), (0,), (3,), (0, 13), (4, 0), (4, 12), (5, 13), (1, 2, 3)])
        arrays[name] = np.zeros(shape, array.dtype)
    elif how == 3:
        with np.errstate(all='ignore'):
            factor = np.float64(rng.choice([0, -1, np.nan, np.inf, 1e39]))
            arrays[name] = array * factor if array.dtype.kind == 'f' else array.ravel()[:1]
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    if how < 4:
        return stream.getvalue()
    header = io.BytesIO()
    huge = {'descr': array.dtype.str, 'fortran_order': False, 'shape': (rng.choice([-1, 2**40, 2**63]), 13)}
    np.lib.format.write_array_header_1_0(header, huge)
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, 'w') as new:
        for item in old.namelist():
            new.writestr(item, header.getvalue() if item == f'{name}.npy' else old.read(item))
    return out.getvalue()


def change_bytes(data, rng):
    """Cuts, flips, doubles or inserts bytes, or replaces the whole file."""
    first = rng.randrange(len(data) + 1)
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    inserted = rng.choice([b'\0', b'\xff', b'\n', b'"', b'\xef\xbb\xbf', b'9' * 5000])
    return rng.choice(
        [data[:first], data[first:], bytes(changed), data + data, data[:first] + inserted + data[first:], *BYTES]
    )


def mutate(name, data, rng):
    if rng.randrange(2):
        return change_bytes(data, rng)
    if name.endswith('.npz'):
        return change_npz(data, rng)
    if name.endswith('.txt'):
        lines = data.splitlines(keepends=True)
        wrong = [b'', b'ab 3\n', b'\x1b 3\n', b'a 99\n', b'a ' + b'9' * 5000, b'a\n']
        lines[rng.randrange(len(lines))] = rng.choice(wrong)
        return b''.join(lines)
    if name.endswith('.jsonl') or name == 'train.json':
        lines = data.splitlines()
        row = rng.randrange(len(lines))
        lines[row] = change_json(json.loads(lines[row]), rng)
        return b'\n'.join([*lines, b''])
    return change_json(json.loads(data), rng)


def test_a_damaged_file_is_a_valid_value_or_one_line_that_names_it(run, monkeypatch):
    monkeypatch.setattr('utils.train.history.draw_curves', lambda records, path, unit: None)  # slow
    num_refused = 0
    for number, (name, reader) in zip(range(NUM_MUTATIONS), itertools.cycle(READERS), strict=False):
        rng = random.Random(number)
        path = os.path.join(run.path, name)
        with open(path, 'rb') as stream:
            data = stream.read()
        if number < len(READERS):
            reader(run.path)  # sound
        changed = mutate(name, data, rng)
        try:
            with open(path, 'wb') as stream:
                stream.write(changed)
            started = time.monotonic()
            reader(run.path)
        except DataError as error:
            num_refused += 1
            is_named = os.path.basename(name) in str(error) or (name == '0.npz' and 'train.json line 1' in str(error))
            assert is_named and '\n' not in str(error), (number, name, str(error))
        except Exception as error:
            raise AssertionError(f'mutation {number} of {name}: {changed[:300]!r}') from error
        finally:
            assert time.monotonic() - started < HUNG_SECS, (number, name)
            with open(path, 'wb') as stream:
                stream.write(data)
    assert num_refused > NUM_MUTATIONS / 2
