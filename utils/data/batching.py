"""The batch plan: the utterances of each step of an epoch.

The plan is a pure function of the utterances' lengths, the seed and the epoch. So an epoch can be repeated, a killed
run continues at the exact batch, and the largest batch can be found before the first step.
"""

import dataclasses

import numpy as np

BUCKET_BATCHES = 16  # batches whose utterances are sorted together; padding is then a few per cent


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """Size of a batch: a number of utterances, or, if ``frames`` is not 0, a budget of frames including padding.

    A batch has at least ``smallest`` utterances.
    """

    utterances: int = 16
    frames: int = 0
    smallest: int = 1

    def times(self, num_replicas: int) -> 'BatchSize':
        """Size of a step over several replicas, each of which gets at least one utterance."""
        return BatchSize(self.utterances * num_replicas, self.frames * num_replicas, num_replicas)


def cut(order: np.ndarray, frames: np.ndarray, size: BatchSize) -> list[np.ndarray]:
    """Cuts a sequence of utterances into batches, in order.

    Args:
      order: row numbers `[n]`.
      frames: length of each utterance, by row number.
      size: size of the batches; an utterance longer than the budget is a batch of its own.

    Returns:
      Row numbers of each batch; each row once.
    """
    if size.frames:
        starts = _budget_starts(frames[order].tolist(), size.frames)
    else:
        starts = list(range(0, len(order), size.utterances))
    merged: list[np.ndarray] = []
    for batch in np.split(order, starts[1:]):
        if merged and min(len(batch), len(merged[-1])) < size.smallest:
            merged[-1] = np.concatenate([merged[-1], batch])
        else:
            merged.append(batch)
    return merged


def _budget_starts(lengths: list[int], budget: int) -> list[int]:
    """Starts of the batches; the longest length times the number of utterances stays within the budget."""
    starts, longest = [0], 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if longest * (i - starts[-1] + 1) > budget and i > starts[-1]:
            starts.append(i)
            longest = length
    return starts


def plan_epoch(
    frames: np.ndarray, size: BatchSize, seed: int, epoch: int, sortagrad: bool, rows: np.ndarray | None = None
) -> list[np.ndarray]:
    """The batches of one epoch; each utterance of the epoch is in one of them.

    The first epoch runs from the shortest utterance to the longest (SortaGrad, Deep Speech 2, section 3.3). For later
    epochs the utterances are shuffled and cut into stretches of BUCKET_BATCHES batches; each stretch is sorted by
    length, so that a batch has utterances of similar length, and the batches are shuffled again.

    Args:
      frames: int `[utterances]`.
      size: size of the batches.
      seed: random seed of the run.
      epoch: number of the epoch, from 0.
      sortagrad: whether epoch 0 is sorted by length.
      rows: row numbers of the epoch's utterances, see `utils.data.mixing`; None: all.

    Returns:
      Row numbers of each batch.
    """
    rows = np.arange(len(frames)) if rows is None else rows
    if sortagrad and epoch == 0:
        return cut(rows[np.argsort(frames[rows], kind='stable')], frames, size)
    rng = np.random.default_rng([seed, epoch])
    order = rows[rng.permutation(len(rows))]
    mean = max(float(np.mean(frames[rows])), 1.0) if len(rows) else 1.0
    in_a_batch = size.utterances if not size.frames else max(int(size.frames / mean), 1)
    stretch = BUCKET_BATCHES * in_a_batch
    pieces = [order[i : i + stretch] for i in range(0, len(order), stretch)]
    order = np.concatenate([piece[np.argsort(frames[piece], kind='stable')] for piece in pieces]) if pieces else order
    batches = cut(order, frames, size)
    return [batches[i] for i in rng.permutation(len(batches))]


def padded_frames(batch: np.ndarray, frames: np.ndarray) -> int:
    """Number of frames of a batch in memory, including padding."""
    return int(frames[batch].max()) * len(batch)


def worst_batch(batches: list[np.ndarray], frames: np.ndarray) -> np.ndarray:
    """The batch that takes the most memory."""
    return max(batches, key=lambda batch: padded_frames(batch, frames))
