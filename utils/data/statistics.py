"""Mean and standard deviation of the features over a training index."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data.arrays import read_arrays
from utils.data.index import Index
from utils.errors import DataError
from utils.files import replacing
from utils.pack.archive import STATISTICS_NAME, read_run_file


class FeatureStatistics(NamedTuple):
    """Mean and standard deviation of each feature over the training index, float32 `[features]`."""

    mean: np.ndarray
    std: np.ndarray

    def normalise(self, features: np.ndarray) -> np.ndarray:
        """Features `[frames, features]` with mean 0 and deviation 1 over the training set."""
        return (features - self.mean) / self.std

    def save(self, run_dir: str) -> None:
        """Writes the statistics into a run directory."""
        with replacing(Path(run_dir) / STATISTICS_NAME) as temporary_path, open(temporary_path, 'wb') as file:
            np.savez(file, mean=self.mean, std=self.std)

    @classmethod
    def load(cls, run_dir: str, num_features: int) -> 'FeatureStatistics':
        """Reads the statistics of a run, a directory or a packed one; a `DataError` if they are missing or damaged."""
        path, remedy = Path(run_dir) / STATISTICS_NAME, 'restore it or train anew with -r no'
        wanted = np.float32, (num_features,)
        data = read_run_file(run_dir, STATISTICS_NAME)
        found = cls(**read_arrays(path, {'mean': wanted, 'std': wanted}, remedy, data=data))
        if not (found.std > 0).all():
            raise DataError(f'{path}: has a standard deviation that is not positive; {remedy}')
        return found


def compute_statistics(index: Index, num_features: int) -> FeatureStatistics:
    """Mean and standard deviation over all frames, summed in float64 in the order of the index (reproducible)."""

    def sums(row: int) -> tuple[int, np.ndarray, np.ndarray]:
        features = index.features(row, num_features).astype(np.float64)
        return len(features), features.sum(0), np.square(features).sum(0)

    count, total, squares = 0, np.zeros(num_features), np.zeros(num_features)
    with ThreadPoolExecutor() as pool:
        rows = pool.map(sums, range(len(index)))
        for frames, first, second in tqdm(
            rows, total=len(index), desc='feature statistics', unit='utt', disable=None, leave=False
        ):
            count, total, squares = count + frames, total + first, squares + second
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - np.square(mean), 1e-8))
    return FeatureStatistics(mean.astype(np.float32), std.astype(np.float32))
