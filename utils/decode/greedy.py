"""Greedy decoding of CTC posteriors; it does not import Numba, which would delay the start of training."""

from collections.abc import Sequence

import numpy as np

from utils.decode.hypothesis import Hypothesis, Span


def best_paths(
    best_ids: np.ndarray, best_log_probs: np.ndarray, lengths: np.ndarray | Sequence[int], blank_id: int
) -> list[Hypothesis]:
    """Decodes the best paths of CTC posteriors: repeated symbols are merged, then blanks removed.

    Args:
      best_ids: the most probable class of each output frame, int `[batch, frames]`.
      best_log_probs: its log-posterior, float `[batch, frames]`.
      lengths: frames of each utterance, int `[batch]`; frames beyond are ignored.
      blank_id: class of the blank.

    Returns:
      A `Hypothesis` for each utterance.
    """
    best_ids, best_log_probs, lengths = np.asarray(best_ids), np.asarray(best_log_probs), np.asarray(lengths)
    if best_ids.ndim != 2 or best_log_probs.shape != best_ids.shape or lengths.shape != best_ids.shape[:1]:
        raise ValueError(
            f'best_ids {best_ids.shape}, best_log_probs {best_log_probs.shape} and lengths {lengths.shape} '
            'must be [batch, frames], [batch, frames] and [batch]'
        )
    # one more column of blanks ends the last run of every row
    inside, padding = np.arange(best_ids.shape[1] + 1) < lengths[:, np.newaxis], ((0, 0), (0, 1))
    ids = np.where(inside, np.pad(best_ids, padding), blank_id)
    log_probs = np.where(inside, np.pad(best_log_probs.astype(np.float64), padding), 0.0)
    hypotheses = []
    for path, path_log_probs, total in zip(ids, log_probs, log_probs.sum(axis=1).tolist(), strict=True):
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        is_symbol = path[starts] != blank_id
        runs = starts, np.append(starts[1:], len(path)), np.add.reduceat(path_log_probs, starts)
        spans = tuple(map(Span, *(each[is_symbol].tolist() for each in runs)))
        hypotheses.append(Hypothesis(tuple(path[starts][is_symbol].tolist()), total, spans))
    return hypotheses
