"""The batch plan: which utterances make up each step of an epoch.

A plan is data, not state: a pure function of the utterances' lengths, the seed and the epoch. So an epoch can be
repeated, a killed run goes on at the exact batch, and the worst batch is known before the first step.
"""

import dataclasses

import numpy as np

BUCKET_BATCHES = 16  # batches whose utterances are sorted together: enough that padding is a few per cent


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """How large a batch is: a number of utterances, or a budget of frames, padding counted; not below smallest."""

    utterances: int = 16
    frames: int = 0
    smallest: int = 1

    def times(self, num_replicas: int) -> 'BatchSize':
        """The size of a step whose utterances are dealt out to several replicas, at least one for each."""
        return BatchSize(self.utterances * num_replicas, self.frames * num_replicas, num_replicas)


def cut(order: np.ndarray, frames: np.ndarray, size: BatchSize) -> list[np.ndarray]:
    """Cuts a sequence of utterances into batches, in order.

    Args:
      order: row numbers `[n]`.
      frames: length of each utterance, by row number.
      size: of the batches; an utterance longer than the budget makes a batch of its own.

    Returns:
      Row numbers of each batch; each row once.
    """
    if size.frames:
        starts = _budget_starts(frames[order].tolist(), size.frames)
    else:
        starts = list(range(0, len(order), size.utterances))
    batches = np.split(order, starts[1:])
    merged = []
    for batch in batches:
        if merged and min(len(batch), len(merged[-1])) < size.smallest:
            merged[-1] = np.concatenate([merged[-1], batch])
        else:
            merged.append(batch)
    return merged


def _budget_starts(lengths: list[int], budget: int) -> list[int]:
    """Where batches begin, so that the longest times the number stays within the budget."""
    starts, longest = [0], 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if longest * (i - starts[-1] + 1) > budget and i > starts[-1]:
            starts.append(i)
            longest = length
    return starts


def plan_epoch(frames: np.ndarray, size: BatchSize, seed: int, epoch: int, sortagrad: bool) -> list[np.ndarray]:
    """The batches of one epoch: every utterance once.

    The first epoch goes from the shortest utterance to the longest (SortaGrad, Deep Speech 2, section 3.3). Later ones
    are shuffled, cut into stretches of a few batches that are sorted by length, so that a batch holds utterances of
    like length, and the batches shuffled again.

    Args:
      frames: int `[utterances]`.
      size: of the batches.
      seed: of the run.
      epoch: counted from 0; the first has the sorted order.
      sortagrad: sort the first epoch.
    """
    by_length = np.argsort(frames, kind='stable')
    if sortagrad and epoch == 0:
        return cut(by_length, frames, size)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(frames))
    mean = max(float(np.mean(frames)), 1.0) if len(frames) else 1.0
    in_a_batch = size.utterances if not size.frames else max(int(size.frames / mean), 1)
    stretch = BUCKET_BATCHES * in_a_batch
    pieces = [order[i : i + stretch] for i in range(0, len(order), stretch)]
    order = np.concatenate([piece[np.argsort(frames[piece], kind='stable')] for piece in pieces]) if pieces else order
    batches = cut(order, frames, size)
    return [batches[i] for i in rng.permutation(len(batches))]


def padded_frames(batch: np.ndarray, frames: np.ndarray) -> int:
    """Frames that a batch takes in memory, padding included."""
    return int(frames[batch].max()) * len(batch)


def worst_batch(batches: list[np.ndarray], frames: np.ndarray) -> np.ndarray:
    """The batch that needs the most memory."""
    return max(batches, key=lambda batch: padded_frames(batch, frames))
