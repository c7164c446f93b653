"""Confidence intervals of error rates, and tests of whether two recognisers differ.

Utterances are taken as independent; those of one speaker are alike, so that true uncertainty is a little larger.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.metrics import AlignedPair, align

REPLICATES, SEED = 2000, 1
_BLOCK = 4_000_000  # draws held at once
_GOOD_WORDS = 2  # words in a row that both have right end a segment, as in NIST's sc_stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class MatchedPairs:
    """Result of the matched-pairs test.

    Attributes:
      segments: number of segments with an error of one recogniser or both.
      mean: mean of the second recogniser's errors minus the first's, a segment.
      z: mean divided by its standard error; negative: the second has fewer errors.
      p: two-sided probability of a |z| so large where both recognisers err equally often.
    """

    segments: int
    mean: float
    z: float
    p: float


def resampled_sums(columns: np.ndarray, replicates: int = REPLICATES, seed: int = SEED) -> np.ndarray:
    """Sums over bootstrap samples of the rows: int64 `[replicates, columns]` from int `[rows, columns]`.

    Rows of equal values are drawn together, by a multinomial distribution over the different rows: the sums have the
    same distribution as those of single rows, at a fraction of the time.
    """
    rows, counts = np.unique(columns, axis=0, return_counts=True)
    rng, size = np.random.default_rng(seed), max(1, _BLOCK // len(rows))
    shares = counts / counts.sum()
    blocks = (min(size, replicates - first) for first in range(0, replicates, size))
    return np.concatenate([rng.multinomial(len(columns), shares, block) @ rows.astype(np.int64) for block in blocks])


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def rate_interval(errors: np.ndarray, lengths: np.ndarray, seed: int = SEED) -> Interval | None:
    """95 % interval of a corpus-level error rate, by the percentile bootstrap over utterances (Bisani and Ney 2004).

    Args:
      errors: int `[utterances]`, errors of each utterance.
      lengths: int `[utterances]`, length of each reference.
      seed: random seed of the samples.

    Returns:
      The interval, as fractions; None for fewer than two utterances, which do not tell how rates vary.
    """
    if len(errors) < 2:
        return None
    sums = resampled_sums(np.stack([errors, lengths], 1), seed=seed)
    return _percentiles(sums[:, 0] / np.maximum(1, sums[:, 1]))


def difference_interval(
    errors: np.ndarray, other_errors: np.ndarray, lengths: np.ndarray, seed: int = SEED
) -> Interval | None:
    """95 % interval of an error rate minus another's on the same utterances (paired bootstrap); see `rate_interval`."""
    if len(errors) < 2:
        return None
    sums = resampled_sums(np.stack([errors - other_errors, lengths], 1), seed=seed)
    return _percentiles(sums[:, 0] / np.maximum(1, sums[:, 1]))


def sums_of_groups(columns: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of the rows of each group, `[groups, columns]`, from int `[rows, columns]` and the group of each row."""
    _, places = np.unique(groups, return_inverse=True)
    sums = np.zeros((places.max(initial=-1) + 1, columns.shape[1]), np.int64)
    np.add.at(sums, places, columns)
    return sums


def standard_error(differences: np.ndarray, lengths: np.ndarray) -> float:
    """Standard error of a ratio of sums, Σ differences / Σ lengths, over independent groups (linearised).

    Args:
      differences: `[groups]`, such as errors of one recogniser minus those of another.
      lengths: `[groups]`, length of the references.
    """
    number, total = len(lengths), max(1.0, float(np.sum(lengths)))
    if number < 2:
        return 0.0
    residuals = differences - np.sum(differences) / total * np.asarray(lengths)
    return math.sqrt(number / (number - 1) * float((residuals**2).sum())) / total


def matched_pairs(segments: Sequence[tuple[int, int]]) -> MatchedPairs:
    """Matched-pairs test on the errors of two recognisers in the same segments (Gillick and Cox 1989).

    The normal approximation is good from about 50 segments. Where all differences are equal, and have no variance, the
    sign test takes its place.

    Args:
      segments: errors of the first and of the second recogniser in each segment; see `error_segments`.
    """
    if not segments:
        return MatchedPairs(0, 0.0, 0.0, 1.0)
    differences = np.array([second - first for first, second in segments], float)
    number, mean = len(differences), float(differences.mean())
    if not np.ptp(differences):
        z, p = (math.copysign(math.sqrt(number), mean), 2.0 ** (1 - number)) if mean else (0.0, 1.0)
        return MatchedPairs(number, mean, z, p)
    z = mean / (float(differences.std(ddof=1)) / math.sqrt(number))
    return MatchedPairs(number, mean, z, math.erfc(abs(z) / math.sqrt(2)))


def error_segments(reference: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Errors of two hypotheses in each segment of an utterance; correct stretches between the segments are left out.

    A segment ends where both hypotheses have two words in a row right, without an insertion between them, or with the
    utterance: errors beyond that are hardly related, so that segments may be taken as independent.
    """
    segments: list[tuple[int, int]] = []
    num_good = _GOOD_WORDS  # words right since the last error
    both = zip(_errors_by_place(align(reference, first)), _errors_by_place(align(reference, second)), strict=True)
    for place, errors in enumerate(both):
        is_word = place % 2
        if any(errors):
            if num_good >= _GOOD_WORDS:
                segments.append((0, 0))
            segments[-1] = (segments[-1][0] + errors[0], segments[-1][1] + errors[1])
            num_good = 0
        elif is_word:
            num_good += 1
    return segments


def _errors_by_place(pairs: Iterable[AlignedPair]) -> list[int]:
    """Errors in each gap (even places: insertions) and word (odd places: 0 or 1) of the reference."""
    errors = [0]
    for _, reference, hypothesis in pairs:
        if reference is None:
            errors[-1] += 1
        else:
            errors += [int(reference != hypothesis), 0]
    return errors
