"""Features in a graph against those of `utils.data.features`."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from utils.data.features import FeatureSpec, extract
from utils.export.features_graph import FeatureGraph

SPECS = ['fbank-40-0.02-0.01', 'mfcc-13-0.025-0.01', 'mfcc-39-0.02-0.01', 'log-161-0.02-0.01', 'log-81-0.015-0.007',
         'fbank-40-0.01-0.012']  # fmt: skip
LENGTHS = [16000, 401, 400, 160, 0, 5003]


def recordings():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=[len(LENGTHS), 16000]) * rng.uniform(0.001, 0.3, [len(LENGTHS), 1])
    samples[0, 4000:8000], samples[0, 9000:9010] = 0, 200  # silence, and beyond what is clipped
    return samples.astype(np.float32)


@pytest.mark.parametrize('text', SPECS)
def test_features_of_a_batch_are_those_of_each_recording_whatever_is_beyond_its_end(text):
    spec, samples = FeatureSpec.parse(text), recordings()
    for row, length in zip(samples, LENGTHS, strict=True):
        row[length:] = np.nan
    with tf.Graph().as_default(), tf.Session() as session:
        graph = FeatureGraph(spec).whole(tf.constant(samples), tf.constant(LENGTHS))
        features, num_frames = session.run(graph)
    for row, found, count, length in zip(samples, features, num_frames, LENGTHS, strict=True):
        assert count == spec.num_frames(length)
        if count:
            np.testing.assert_allclose(found[:count], extract(row[:length], spec), atol=2e-3)


def test_float32_suffices_for_mel_features():
    samples, spec = recordings()[:1], FeatureSpec()
    with tf.Graph().as_default(), tf.Session() as session:
        features, _ = session.run(FeatureGraph(spec, tf.float32).whole(tf.constant(samples), tf.constant([16000])))
    np.testing.assert_allclose(features[0], extract(samples[0], spec), atol=1e-3)


def test_a_batch_of_nothing_has_one_frame_that_does_not_count():
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(FeatureGraph(FeatureSpec()).whole(tf.zeros([2, 0]), tf.constant([0, 0])))
    assert found[0].shape == (2, 1, 40) and np.isfinite(found[0]).all() and found[1].tolist() == [0, 0]
