"""From rows of an index to what the model sees: normalised features and label ids."""

import numpy as np

from utils.data.augment import Augmentation, augment
from utils.data.feature_file import read_features
from utils.data.transcripts import encode, frames_needed


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
        features = self.statistics.normalise(
            read_features(self.index.keys[row], len(self.statistics.mean), self.index.where(row))
        )
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
