"""Augmentation of feature matrices: time and frequency masks, tempo and vocal tract length perturbation.

Masks follow SpecAugment (Park et al. 2019, arXiv 1904.08779), filled with 0, which is the mean of normalised features.
Frequency warping follows vocal tract length perturbation (Jaitly and Hinton 2013).
"""

import dataclasses

import numpy as np

LONGEST_MASKED_SHARE = 8  # a time mask hides at most 1/8 of the utterance: short commands keep their words


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Settings: numbers of masks, their largest sizes (frames, features), and ranges of the factors (1 ± range)."""

    time_masks: int = 0
    freq_masks: int = 0
    max_time_mask: int = 30
    max_freq_mask: int = 8
    tempo_range: float = 0.0
    warp_range: float = 0.0


def augment(features: np.ndarray, rng: np.random.Generator, how: Augmentation, shortest: int = 1) -> np.ndarray:
    """An augmented copy of an utterance.

    Args:
      features: float32 `[frames, features]`, normalised.
      rng: source of all randomness; equal generator states give equal results.
      how: kinds and amounts of augmentation.
      shortest: number of frames that the transcript needs; the tempo is limited so that no fewer are left.

    Returns:
      float32 `[frames', features]`.
    """
    if how.tempo_range:
        features = change_tempo(features, rng.uniform(1 - how.tempo_range, 1 + how.tempo_range), shortest)
    else:
        features = features.copy()
    if how.warp_range:
        features = warp_frequencies(features, rng.uniform(1 - how.warp_range, 1 + how.warp_range))
    num_frames, num_features = features.shape
    for _ in range(how.freq_masks):
        width = rng.integers(0, min(how.max_freq_mask, num_features) + 1)
        start = rng.integers(0, num_features - width + 1)
        features[:, start : start + width] = 0
    for _ in range(how.time_masks):
        width = rng.integers(0, min(how.max_time_mask, num_frames // LONGEST_MASKED_SHARE) + 1)
        start = rng.integers(0, num_frames - width + 1)
        features[start : start + width] = 0
    return features


def change_tempo(features: np.ndarray, tempo: float, shortest: int = 1) -> np.ndarray:
    """Stretches the time axis by 1 / tempo with linear interpolation, to at least ``shortest`` frames."""
    num_frames = len(features)
    target = max(round(num_frames / tempo), min(shortest, num_frames), 1)
    return _sample(features, np.linspace(0, num_frames - 1, target))


def warp_frequencies(features: np.ndarray, factor: float) -> np.ndarray:
    """Warps the frequency axis (feature f is read at f · factor), for fbank and log: another vocal tract length."""
    num_features = features.shape[1]
    position = np.minimum(np.arange(num_features) * factor, num_features - 1)
    return np.ascontiguousarray(_sample(features.T, position).T)


def _sample(rows: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows at fractional positions, interpolated linearly."""
    left = np.minimum(position.astype(np.int64), max(len(rows) - 2, 0))
    right = np.minimum(left + 1, len(rows) - 1)
    weight = (position - left).astype(np.float32)[:, None]
    return rows[left] * (1 - weight) + rows[right] * weight
