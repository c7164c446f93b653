"""Masks and tempo: what they may touch, and that they repeat."""

import numpy as np

from utils.data.augment import Augmentation, augment, change_tempo, warp_frequencies

FEATURES = np.random.default_rng(0).normal(size=[200, 40]).astype('f') + 5


def changed(seed=0, **options):
    return augment(FEATURES, np.random.default_rng(seed), Augmentation(**options))


def test_masks_hide_whole_frames_and_whole_bands_within_their_limits():
    for seed in range(20):
        hidden = changed(seed, time_masks=2, freq_masks=2, max_time_mask=10, max_freq_mask=4) == 0
        assert hidden.all(1).sum() <= 20 and hidden.all(0).sum() <= 8
        assert (hidden == (hidden.all(1)[:, None] | hidden.all(0)[None])).all()


def test_a_time_mask_hides_at_most_an_eighth_of_a_short_utterance():
    short = np.ones([16, 3], 'f')
    for seed in range(20):
        hidden = augment(short, np.random.default_rng(seed), Augmentation(time_masks=1, max_time_mask=100)) == 0
        assert hidden.all(1).sum() <= 2


def test_the_same_seed_changes_alike_and_the_original_stays():
    before = FEATURES.copy()
    options = {'time_masks': 2, 'freq_masks': 2, 'tempo_range': 0.1}
    assert np.array_equal(changed(3, **options), changed(3, **options))
    assert not np.array_equal(changed(3, **options), changed(4, **options))
    assert np.array_equal(FEATURES, before)


def test_tempo_interpolates_between_frames():
    ramp = np.arange(5, dtype='f')[:, None]
    np.testing.assert_allclose(change_tempo(ramp, 0.5)[:, 0], np.linspace(0, 4, 10), atol=1e-6)
    np.testing.assert_allclose(change_tempo(ramp, 5 / 3)[:, 0], [0, 2, 4])


def test_a_warp_reads_features_from_scaled_frequencies():
    ramp = np.arange(5, dtype='f')[None]
    np.testing.assert_allclose(warp_frequencies(ramp, 0.5), [[0, 0.5, 1, 1.5, 2]])
    np.testing.assert_allclose(warp_frequencies(ramp, 2.0), [[0, 2, 4, 4, 4]])


def test_a_fast_tempo_leaves_the_frames_that_the_transcript_needs():
    assert len(change_tempo(FEATURES, 1.5, shortest=180)) == 180
    assert len(change_tempo(FEATURES, 1.5, shortest=500)) == 200
