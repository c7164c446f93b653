"""Statistics are over all frames of the training index, and survive the run directory."""

import numpy as np

from tests.indexes import make_index
from utils.data.statistics import FeatureStatistics, compute_statistics


def test_statistics_are_over_all_frames(tmp_path):
    statistics = compute_statistics(make_index(tmp_path, [(2, 'a'), (4, 'b')]), 13)
    values = np.array([0, 1, 0, 1, 2, 3])
    np.testing.assert_allclose(statistics.mean, np.full(13, values.mean()), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, np.full(13, values.std()), rtol=1e-6)
    statistics.save(str(tmp_path))
    loaded = FeatureStatistics.load(str(tmp_path))
    assert np.array_equal(loaded.mean, statistics.mean) and np.array_equal(loaded.std, statistics.std)
