"""Features of a recording in chunks against those of the whole."""

import numpy as np
import pytest

from utils.data.feature_stream import FeatureStream
from utils.data.features import FeatureSpec, extract

KINDS = ['fbank-40-0.02-0.01', 'log-81-0.02-0.01', 'mfcc-13-0.025-0.01', 'mfcc-39-0.02-0.01', 'mfcc-39-0.01-0.015']


def noise(num_samples):
    return 0.1 * np.random.default_rng(1).standard_normal(num_samples).astype(np.float32)


def in_chunks(samples, sizes, spec):
    stream, found, start = FeatureStream(spec), [], 0
    for i in range(len(samples)):
        found.append(stream.add(samples[start : start + sizes[i % len(sizes)]]))
        start += sizes[i % len(sizes)]
        if start >= len(samples):
            break
    assert stream.num_samples == len(samples)
    return np.concatenate([*found, stream.end()])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num_samples', [400, 401, 560, 720, 3201])
@pytest.mark.parametrize('sizes', [[1], [160], [16000], [7, 500, 1, 33]], ids=str)
def test_chunks_give_the_features_of_the_whole_recording(kind, num_samples, sizes):
    spec, samples = FeatureSpec.parse(kind), noise(num_samples)
    expected = extract(samples, spec)
    found = in_chunks(samples, sizes, spec)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_recording_shorter_than_a_window_has_no_frames():
    assert in_chunks(noise(319), [100], FeatureSpec()).shape == (0, 40)


def test_frames_come_as_soon_as_their_last_sample():
    stream = FeatureStream(FeatureSpec())
    assert [len(stream.add(noise(num))) for num in (319, 1, 159, 1, 320)] == [0, 1, 0, 1, 2]
