"""Statistics are over all frames of the training index, and survive the run directory; damaged ones are named."""

import numpy as np
import pytest

from tests.indexes import make_index
from utils.data.statistics import FeatureStatistics, compute_statistics
from utils.errors import DataError


def test_statistics_are_over_all_frames(tmp_path):
    statistics = compute_statistics(make_index(tmp_path, [(2, 'a'), (4, 'b')]), 13)
    values = np.array([0, 1, 0, 1, 2, 3])
    np.testing.assert_allclose(statistics.mean, np.full(13, values.mean()), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, np.full(13, values.std()), rtol=1e-6)
    statistics.save(str(tmp_path))
    loaded = FeatureStatistics.load(str(tmp_path), 13)
    assert np.array_equal(loaded.mean, statistics.mean) and np.array_equal(loaded.std, statistics.std)


ONES = np.ones(3, 'f')


@pytest.mark.parametrize(
    ('arrays', 'complaint'),
    [
        ({'mean': ONES, 'std': ONES * 0}, 'has a standard deviation that is not positive'),
        ({'mean': ONES, 'std': -ONES}, 'has a standard deviation that is not positive'),
        ({'mean': ONES * np.nan, 'std': ONES}, 'mean with values that are not finite'),
        ({'mean': ONES, 'std': np.full(3, 1e39)}, 'std with values that are not finite'),
        ({'mean': ONES[:2], 'std': ONES}, r'mean of shape \[2\], not \[3\]'),
        ({'mean': ONES}, 'no std in it'),
        ({'mean': ONES, 'std': ONES.astype(str)}, 'std of type <U32, not floating-point numbers'),
        ({'mean': ONES + 1j, 'std': ONES}, 'mean of type complex64, not floating-point numbers'),
    ],
)
def test_statistics_that_cannot_be_meant_are_named(tmp_path, arrays, complaint):
    np.savez(tmp_path / 'feature_statistics.npz', **arrays)
    with pytest.raises(DataError, match=rf'feature_statistics\.npz: .*{complaint}.*; restore it or train anew'):
        FeatureStatistics.load(str(tmp_path), 3)
