"""Posteriors in files."""

import zipfile

import numpy as np
import pytest

from utils.errors import DataError
from utils.recognition.posteriors import (
    POSTERIORS_NAME,
    Posteriors,
    PosteriorsInfo,
    open_posteriors,
    writing_posteriors,
)

KEYS = ('feat/a.npz', 'feat/b.npz', 'feat/c.npz')
INFO = PosteriorsInfo('run', 'best', 'model-7', 'dev.json', (' ', 'a', 'é'), 0.02, KEYS)


def utterances():
    logits = np.random.default_rng(0).normal(scale=4, size=(3, 6, 4))
    return np.log(np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)), [6, 0, 3]


def write(path):
    log_probs, lengths = utterances()
    with writing_posteriors(path) as writer:
        writer.add([2, 0], log_probs[[2, 0]], [3, 6])  # batches come in any order
        writer.add([1], log_probs[1:2], [0])
        writer.finish(INFO)
    return path


def test_what_was_written_is_read_in_the_order_of_the_index(tmp_path):
    posteriors = Posteriors(write(tmp_path / 'new' / 'p.npz'))
    log_probs, lengths = utterances()
    assert posteriors.info == INFO
    assert len(posteriors) == 3
    for found, expected, length in zip(posteriors, log_probs, lengths, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:length], rtol=1e-3)
    assert [len(each) for each in posteriors[1:]] == [0, 3]


def test_zero_probability_stays_finite(tmp_path):
    with writing_posteriors(tmp_path / 'p.npz') as writer:
        writer.add([0, 1, 2], np.full((3, 1, 2), -np.inf), [1, 1, 1])
        writer.finish(INFO)
    assert np.isfinite(Posteriors(tmp_path / 'p.npz')[0]).all()


def test_a_file_that_was_not_finished_is_not_there(tmp_path):
    with pytest.raises(ValueError, match='2 utterances for 3 keys'), writing_posteriors(tmp_path / 'p.npz') as writer:
        writer.add([0, 1], np.zeros((2, 1, 2)), [1, 1])
        writer.finish(INFO)
    assert list(tmp_path.iterdir()) == []


def test_what_is_damaged_or_no_posteriors_is_named(tmp_path):
    path = write(tmp_path / 'p.npz')
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match='p.npz: no posteriors'):
        Posteriors(path)
    np.savez(tmp_path / 'other.npz', log_probs=np.zeros(3))
    with pytest.raises(DataError, match='other.npz: no posteriors'):
        Posteriors(tmp_path / 'other.npz')
    with zipfile.ZipFile(write(path)) as archive:
        start = archive.getinfo('0.npy').header_offset
    data = bytearray(path.read_bytes())
    data[start + 60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match='p.npz: damaged'):
        Posteriors(path)[0]


def test_posteriors_of_something_else_are_refused(tmp_path):
    write(tmp_path / 'dev' / POSTERIORS_NAME)

    def opened(name='dev', keys=KEYS, tokens=INFO.tokens, checkpoint='best'):
        return open_posteriors(tmp_path, name, 'dev.json', keys, tokens, checkpoint)

    assert len(opened(keys=[f'/elsewhere/{key}' for key in KEYS])) == 3
    for wrong, message in (
        ({'name': 'test'}, 'no such file; make it'),
        ({'keys': KEYS[:2]}, 'not of those of dev.json'),
        ({'tokens': 'ab'}, 'another vocabulary'),
        ({'checkpoint': 'latest'}, 'checkpoint best, not latest; give --checkpoint best'),
    ):
        with pytest.raises(DataError, match=message):
            opened(**wrong)
