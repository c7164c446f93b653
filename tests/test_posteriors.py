"""Saved posteriors."""

import dataclasses

import numpy as np
import pytest

from tests.indexes import make_index
from utils.errors import DataError
from utils.recognition.posteriors import Posteriors, find_weights, rounded, weights_id

TOKENS = [' ', 'a', 'é']
LENGTHS = [6, 0, 3]


def utterances():
    logits = np.random.default_rng(0).normal(scale=4, size=(3, 6, 4))
    log_probs = np.log(np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True))
    return [each[:length] for each, length in zip(log_probs, LENGTHS, strict=True)]


@pytest.fixture
def index(tmp_path):
    return make_index(tmp_path, [(12, 'a'), (2, 'a'), (6, 'a')])


@pytest.fixture
def saved(index, tmp_path):
    """Posteriors of the index, and the directory of their file."""
    found = Posteriors.of([rounded(each) for each in utterances()], index, TOKENS, 'run', 'best', 'model-7')
    found.save(tmp_path / 'new' / 'dev')
    return found, tmp_path / 'new' / 'dev'


def test_what_was_written_is_read_in_the_order_of_the_index(saved):
    expected, directory = saved
    found = Posteriors.load(directory / 'posteriors.npz')
    assert list(found.tokens) == TOKENS and list(found.keys) == list(expected.keys)
    assert (found.run, found.checkpoint, found.weights, found.index) == ('run', 'best', 'model-7', expected.index)
    for each, log_probs in zip(found.utterances(), utterances(), strict=True):
        np.testing.assert_allclose(each.astype(np.float32), log_probs, rtol=1e-3)


def test_a_decoder_gets_float32_and_lengths(saved):
    class Decoder:
        def decode(self, batch, lengths):
            return [(each.dtype.name, length) for each, length in zip(batch, lengths, strict=True)]

    decoded = saved[0].decode(Decoder())
    assert decoded == [('float32', length) for length in LENGTHS]


def test_zero_probability_stays_finite():
    assert np.isfinite(rounded(np.full((1, 2), -np.inf))).all()


def test_a_write_that_fails_leaves_no_file(saved, monkeypatch):
    found, directory = saved
    monkeypatch.setattr(np, 'savez', lambda file, **arrays: file.write(b'part') and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(directory / 'other')
    assert list((directory / 'other').iterdir()) == []


def test_what_is_damaged_or_no_posteriors_is_named(saved):
    path = saved[1] / 'posteriors.npz'
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[200] ^= 0xFF
    for damaged in (data[:-30], bytes(flipped), b''):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match='posteriors.npz: cannot be read .*; write them again'):
            Posteriors.load(path)


def test_a_file_of_another_format_is_refused_in_one_line(tmp_path):
    np.savez(tmp_path / 'old.npz', **{'0': np.zeros((2, 3), np.float16), 'about.json': np.zeros(1)})
    with pytest.raises(DataError, match='old.npz: cannot be read .*; write them again') as caught:
        Posteriors.load(tmp_path / 'old.npz')
    assert '\n' not in str(caught.value)


def test_posteriors_of_something_else_are_refused(saved, index):
    def opened(directory=saved[1], index=index, tokens=TOKENS, checkpoint='best', weights=''):
        return Posteriors.open(directory, index, tokens, checkpoint, weights)

    moved = dataclasses.replace(saved[0], keys=[f'/elsewhere/{key}' for key in saved[0].keys])
    moved.save(saved[1].parent / 'moved')
    assert len(opened(saved[1].parent / 'moved').utterances()) == 3
    assert opened(weights='model-7 (c0ffee)') and opened(weights='model-7')  # the file has a name without a hash
    dataclasses.replace(saved[0], weights='model-7 (c0ffee)').save(saved[1].parent / 'new')
    assert opened(saved[1].parent / 'new', weights='model-7 (c0ffee)')
    for wrong, message in (
        ({'directory': saved[1].parent / 'test'}, 'no such file; make it'),
        ({'index': index.take(np.arange(2))}, 'not of those of .*train.json'),
        ({'tokens': 'ab'}, 'another vocabulary'),
        ({'weights': 'model-8 (c0ffee)'}, 'of the weights model-7 of run, not model-8 .c0ffee.; write them again'),
        ({'directory': saved[1].parent / 'new', 'weights': 'model-7 (b0a710ad)'}, 'not model-7 .b0a710ad.'),
        ({'checkpoint': 'latest'}, 'checkpoint best, not latest; give --checkpoint best'),
    ):
        with pytest.raises(DataError, match=message):
            opened(**wrong)


def test_weights_are_named_with_a_hash_as_a_checkpoint_is_chosen(tmp_path):
    directory = tmp_path / 'checkpoints'
    assert [find_weights(tmp_path, which) for which in ('best', 'latest', 'average')] == ['', '', '']
    directory.mkdir()
    for name in ('model-9', 'model-10', 'model-11-kept', 'model-mine', 'average-9'):
        (directory / f'{name}.index').write_text(name)
    (directory / 'best.json').write_text('{"name": "model-9", "error": 0.1, "dev_loss": Infinity}')
    for which, name in (('best', 'model-9'), ('latest', 'model-10'), ('average', 'average-9')):
        assert find_weights(tmp_path, which) == weights_id(directory / name)
        assert weights_id(directory / name).startswith(f'{name} (')
    before = find_weights(tmp_path, 'best')
    (directory / 'model-9.index').write_text('other weights')
    assert find_weights(tmp_path, 'best') != before
    (directory / 'best.json').write_text('{"name": "average-9"}')
    assert find_weights(tmp_path, 'best') == find_weights(tmp_path, 'average')
