"""Batches: normalised, augmented from their epoch on, and padded with zeros."""

import numpy as np

from tests.indexes import make_index
from utils.data.augment import Augmentation
from utils.data.loader import Loader
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary

ENGLISH = Vocabulary.english()


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
