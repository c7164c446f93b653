"""Loads batches: normalised, augmented and padded features with label ids."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from utils.data.augment import Augmentation, augment
from utils.data.index import Index
from utils.data.statistics import FeatureStatistics
from utils.data.transcripts import frames_needed
from utils.data.vocabulary import Vocabulary


class Loader:
    """Reads, normalises, augments and pads the utterances of a batch.

    Args:
      index: the utterances.
      vocabulary: vocabulary of the run.
      statistics: feature statistics of the training index.
      time_stride: input frames per output frame; limits changes of tempo so that the transcript still fits.
      augmentation: augmentation of the features; None: none, as in validation.
      first_augmented_epoch: number of the first epoch with augmentation.
      seed: random seed of the augmentation.
    """

    def __init__(
        self,
        index: Index,
        vocabulary: Vocabulary,
        statistics: FeatureStatistics,
        time_stride: int = 0,
        augmentation: Augmentation | None = None,
        first_augmented_epoch: int = 0,
        seed: int = 0,
    ):
        self.index, self.vocabulary, self.statistics = index, vocabulary, statistics
        self.time_stride, self.augmentation = time_stride, augmentation
        self.first_augmented_epoch, self.seed = first_augmented_epoch, seed

    def utterance(self, row: int, epoch: int) -> tuple[np.ndarray, list[int]]:
        """Features `[frames, features]` and label ids; the augmentation depends on (seed, epoch, row) alone."""
        features = self.statistics.normalise(self.index.features(row, len(self.statistics.mean)))
        labels = self.vocabulary.encode(self.index.texts[row], unknown=0)  # such a row's loss is not used
        if self.augmentation and epoch >= self.first_augmented_epoch:
            rng = np.random.default_rng([self.seed, epoch, row])
            shortest = frames_needed(labels) * self.time_stride
            features = augment(features, rng, self.augmentation, shortest)
        return features, labels

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """Features `[batch, time, features]`, their lengths, labels `[batch, symbols]`, their lengths, and the rows."""
        features, labels = zip(*(self.utterance(row, epoch) for row in rows), strict=True)
        return *pad(features, np.float32), *pad(labels, np.int32), np.asarray(rows, np.int32)


def pad(sequences: Sequence, dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray]:
    """Stacks sequences of different lengths, padded with zeros at the end; also returns their lengths, int32."""
    lengths = np.array([len(s) for s in sequences], np.int32)
    first = np.asarray(sequences[0])
    padded = np.zeros((len(sequences), max(int(lengths.max()), 1), *first.shape[1:]), dtype)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded, lengths
