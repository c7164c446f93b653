"""From an index to arrays: normalisation, labels, padding, and what is left out."""

import json

import numpy as np
import pytest

from utils.data.augment import Augmentation
from utils.data.index import read_index
from utils.data.loader import (
    FeatureStatistics,
    Loader,
    compute_statistics,
    fitting_rows,
    frames_needed,
    read_features,
    usable_rows,
)
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError

ENGLISH = Vocabulary.english()


def make_index(tmp_path, utterances, features=13):
    """Writes (frames, text) pairs as an index; frame t of each utterance holds the value t."""
    lines = []
    for i, (frames, text) in enumerate(utterances):
        values = np.repeat(np.arange(frames, dtype='f')[:, None], features, 1)
        np.savez(tmp_path / f'{i}.npz', features=values, label=np.zeros(1, 'i'))
        lines.append(json.dumps({'key': f'{i}.npz', 'duration': frames / 100, 'texts': text}))
    path = tmp_path / 'train.json'
    path.write_text('\n'.join(lines))
    return read_index([str(path)])


def test_statistics_are_over_all_frames(tmp_path):
    statistics = compute_statistics(make_index(tmp_path, [(2, 'a'), (4, 'b')]), 13)
    values = np.array([0, 1, 0, 1, 2, 3])
    np.testing.assert_allclose(statistics.mean, np.full(13, values.mean()), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, np.full(13, values.std()), rtol=1e-6)
    statistics.save(str(tmp_path))
    loaded = FeatureStatistics.load(str(tmp_path))
    assert np.array_equal(loaded.mean, statistics.mean) and np.array_equal(loaded.std, statistics.std)


def test_a_batch_is_padded_with_zeros(tmp_path):
    index = make_index(tmp_path, [(2, 'ab'), (3, 'c')])
    loader = Loader(index, ENGLISH, FeatureStatistics(np.ones(13, 'f'), np.full(13, 2, 'f')))
    features, lengths, labels, label_lengths, rows = loader.batch(np.array([1, 0]), 0)
    assert features[..., 0].tolist() == [[-0.5, 0, 0.5], [-0.5, 0, 0]]
    assert labels.tolist() == [[3, 0], [1, 2]]
    assert (lengths.tolist(), label_lengths.tolist(), rows.tolist()) == ([3, 2], [1, 2], [1, 0])


def test_augmentation_begins_with_its_epoch_and_repeats(tmp_path):
    index = make_index(tmp_path, [(100, 'ab')])
    loader = Loader(
        index, ENGLISH, FeatureStatistics(np.zeros(13, 'f'), np.ones(13, 'f')), 2, Augmentation(freq_masks=3), 2, 5
    )
    epochs = [loader.utterance(0, epoch)[0] for epoch in (0, 1, 2, 2, 3)]
    assert np.array_equal(epochs[0], epochs[1]) and np.array_equal(epochs[2], epochs[3])
    assert not np.array_equal(epochs[1], epochs[2]) and not np.array_equal(epochs[2], epochs[4])


def test_ctc_needs_a_blank_between_equal_symbols():
    assert frames_needed([1, 2, 3]) == 3
    assert frames_needed([1, 1, 1]) == 5
    assert frames_needed([]) == 0


def test_transcripts_that_do_not_fit_are_named_and_left_out(tmp_path, caplog):
    index = make_index(tmp_path, [(6, 'abc'), (6, 'aab'), (6, ''), (3, 'ab')])
    # with a stride of 2 there are 3 output frames; "aab" needs 4
    assert fitting_rows(index, ENGLISH, 2).tolist() == [True, False, False, True]
    assert usable_rows(index, ENGLISH, 2).tolist() == [0, 3]
    assert 'train.json line 2 (1)' in caplog.text and 'train.json line 3 (2)' in caplog.text


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(DataError, match='none of the 1 transcripts fits'):
        usable_rows(make_index(tmp_path, [(2, 'abcdef')]), ENGLISH, 2)


def test_a_character_outside_the_vocabulary_names_its_line(tmp_path):
    with pytest.raises(DataError, match=r"train\.json line 2 \(1\): character 'é' is not in"):
        fitting_rows(make_index(tmp_path, [(9, 'a'), (9, 'é')]), ENGLISH, 2)


def test_features_of_another_size_or_damaged_are_named(tmp_path):
    index = make_index(tmp_path, [(4, 'a'), (4, 'b')])
    with pytest.raises(DataError, match=r'line 1 \(0\).*not 40 a frame'):
        read_features(index, 0, 40)
    (tmp_path / '1.npz').write_bytes(b'PK broken')
    with pytest.raises(DataError, match=r'line 2 \(1\).*cannot be read'):
        read_features(index, 1, 13)
    (tmp_path / '0.npz').unlink()
    with pytest.raises(DataError, match=r'line 1 \(0\).*no such file'):
        read_features(index, 0, 13)
