"""From rows of an index to what the model sees: normalised features and label ids."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data.augment import Augmentation, augment
from utils.data.index import Index
from utils.data.transcripts import UNKNOWN, count_frames_needed, frames_needed
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError
from utils.files import replacing

log = logging.getLogger(__name__)

STATISTICS_NAME = 'feature_statistics.npz'
LISTED = 5  # utterances named one by one in a message


class FeatureStatistics(NamedTuple):
    """Mean and standard deviation of each feature over the training index, float32 `[features]`."""

    mean: np.ndarray
    std: np.ndarray

    def normalise(self, features: np.ndarray) -> np.ndarray:
        """Features `[frames, features]` with mean 0 and deviation 1 over the training set."""
        return (features - self.mean) / self.std

    def save(self, run_dir: str) -> None:
        """Writes them into a run directory."""
        with replacing(Path(run_dir) / STATISTICS_NAME) as temporary_path, open(temporary_path, 'wb') as file:
            np.savez(file, mean=self.mean, std=self.std)

    @classmethod
    def load(cls, run_dir: str) -> 'FeatureStatistics':
        """Reads those of a run directory."""
        path = Path(run_dir) / STATISTICS_NAME
        try:
            with np.load(path) as arrays:
                return cls(arrays['mean'], arrays['std'])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f'{path}: cannot be read ({error}); restore it or train anew with -r no') from None


def read_features(index: Index, row: int, num_features: int) -> np.ndarray:
    """The features of one utterance, float32 `[frames, features]`.

    Raises:
      DataError: the file is missing, damaged, or has another number of features.
    """
    try:
        with np.load(index.keys[row]) as arrays:
            features = arrays['features']
    except Exception as error:  # zipfile, zlib and numpy each have their own ways to say that a file is damaged
        reason = 'no such file' if isinstance(error, FileNotFoundError) else f'cannot be read ({error})'
        raise DataError(f'{index.where(row)}: {index.keys[row]}: {reason}; run the preprocessing again') from None
    if features.ndim != 2 or features.shape[1] != num_features:
        raise DataError(
            f'{index.where(row)}: {index.keys[row]} has features of shape {list(features.shape)}, '
            f'not {num_features} a frame; give the -f it was made with'
        )
    return features.astype(np.float32, copy=False)


def compute_statistics(index: Index, num_features: int) -> FeatureStatistics:
    """Mean and deviation over all frames, in float64 and in the order of the index, so that they repeat exactly."""

    def sums(row):
        features = read_features(index, row, num_features).astype(np.float64)
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


def fitting_rows(index: Index, vocabulary: Vocabulary, time_stride: int) -> np.ndarray:
    """Which transcripts fit their output frames under CTC; bool `[utterances]`.

    Args:
      index: the utterances.
      vocabulary: of the run.
      time_stride: input frames an output frame; 0 where the length of a transcript does not matter.

    Raises:
      DataError: a transcript with a character outside the vocabulary.
    """
    needed = count_frames_needed(index.texts, vocabulary)
    for row in np.flatnonzero(needed == UNKNOWN)[:1]:
        encode(index, row, vocabulary)  # names the character
    return (needed > 0) & (needed <= -(-index.frames // time_stride) if time_stride else True)


def usable_rows(index: Index, vocabulary: Vocabulary, time_stride: int) -> np.ndarray:
    """Rows that can be trained on; the others are named in the log. Arguments and errors as in `fitting_rows`.

    Raises:
      DataError: nothing is left.
    """
    fits = fitting_rows(index, vocabulary, time_stride)
    left_out = np.flatnonzero(~fits)
    for row in left_out[:LISTED]:
        symbols = len(encode(index, row, vocabulary))
        log.warning(
            'left out: %s: its %d symbols do not fit its %d frames', index.where(row), symbols, index.frames[row]
        )
    if len(left_out) > LISTED:
        log.warning('left out: %d more utterances whose transcripts are empty or do not fit', len(left_out) - LISTED)
    if not fits.any():
        raise DataError(
            f'{index.where(0)}: none of the {len(index)} transcripts fits its frames; check the index against the audio'
        )
    return np.flatnonzero(fits)


def encode(index: Index, row: int, vocabulary: Vocabulary) -> list[int]:
    """The label ids of one utterance.

    Raises:
      DataError: a character outside the vocabulary.
    """
    try:
        return vocabulary.encode(index.texts[row])
    except DataError as error:
        raise DataError(f'{index.where(row)}: {error}') from None


def symbol_frequencies(index: Index, vocabulary: Vocabulary) -> np.ndarray:
    """How often each symbol stands in the transcripts, and, last, the end of one: `[vocabulary + 1]`, summing to 1."""
    counts = np.zeros(len(vocabulary) + 1)
    counts[-1] = len(index)
    for row in range(len(index)):
        counts += np.bincount(encode(index, row, vocabulary), minlength=len(counts))
    return counts / counts.sum()


def references(index: Index, vocabulary: Vocabulary) -> list[str]:
    """The transcripts as the vocabulary spells them; a `DataError` names one that it cannot spell."""
    return [vocabulary.decode(encode(index, row, vocabulary)) for row in range(len(index))]


class Loader:
    """Reads, normalises, augments and pads the utterances of a batch.

    Args:
      index: the utterances.
      vocabulary: of the run.
      statistics: of the run's training index.
      time_stride: as in `usable_rows`; keeps a change of tempo from leaving too few frames.
      augmentation: None for validation.
      first_augmented_epoch: number of the first epoch that is augmented.
      seed: of the augmentation.
    """

    def __init__(
        self,
        index,
        vocabulary,
        statistics,
        time_stride=0,
        augmentation: Augmentation | None = None,
        first_augmented_epoch=0,
        seed=0,
    ):
        self.index, self.vocabulary, self.statistics = index, vocabulary, statistics
        self.time_stride, self.augmentation = time_stride, augmentation
        self.first_augmented_epoch, self.seed = first_augmented_epoch, seed

    def utterance(self, row: int, epoch: int) -> tuple[np.ndarray, list[int]]:
        """Features `[frames, features]` and label ids; what is random depends on (seed, epoch, row) alone."""
        features = self.statistics.normalise(read_features(self.index, row, len(self.statistics.mean)))
        labels = encode(self.index, row, self.vocabulary)
        if self.augmentation and epoch >= self.first_augmented_epoch:
            rng = np.random.default_rng([self.seed, epoch, row])
            shortest = frames_needed(labels) * self.time_stride
            features = augment(features, rng, self.augmentation, shortest)
        return features, labels

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """Features `[batch, time, features]`, lengths, labels `[batch, symbols]`, label lengths, and the rows."""
        features, labels = zip(*(self.utterance(row, epoch) for row in rows), strict=True)
        return *pad(features, np.float32), *pad(labels, np.int32), np.asarray(rows, np.int32)


def pad(sequences, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Stacks sequences of different lengths, zeros behind the short ones; also their lengths, int32."""
    lengths = np.array([len(s) for s in sequences], np.int32)
    first = np.asarray(sequences[0])
    padded = np.zeros((len(sequences), max(int(lengths.max()), 1), *first.shape[1:]), dtype)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded, lengths
