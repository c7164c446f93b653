"""Split of a corpus into train, dev and test by speaker."""

import math
from collections.abc import Mapping

from utils.errors import DataError

PARTS = ('train', 'dev', 'test')


def parse_ratio(text: str) -> tuple[float, ...]:
    """``8:1:1`` as shares that sum to 1; a ValueError for any other text."""
    try:
        ratio = [float(number) for number in text.split(':')]
    except ValueError:
        ratio = []
    if len(ratio) != len(PARTS) or not all(number >= 0 for number in ratio) or not 0 < sum(ratio) < math.inf:
        raise ValueError(f"'{text}' is not a train:dev:test ratio; give three numbers like 8:1:1")
    return tuple(number / sum(ratio) for number in ratio)


def check_speakers(num_speakers: int, ratio: tuple[float, ...]) -> None:
    """Raises a `DataError` if there are fewer speakers than parts with a share."""
    num_parts = sum(share > 0 for share in ratio)
    if num_speakers < num_parts:
        raise DataError(
            f'-s/--split by speaker into {num_parts} parts needs {num_parts} speakers, but there are {num_speakers}; '
            f'read more of the corpus, or give a part 0 (as in 9:1:0), or leave -s out'
        )


def split_speakers(duration_of: Mapping[str, float], ratio: tuple[float, ...]) -> dict[str, list[str]]:
    """Assigns each speaker to a part, with durations as near to the ratio as whole speakers allow.

    Speakers are assigned in order of decreasing duration, each to the part that is then filled least relative to its
    share (the highest averages method of seat apportionment); the last ones go to parts without speakers.

    Args:
      duration_of: total duration of each speaker, seconds.
      ratio: shares of train, dev and test; a part with share 0 is left out.

    Returns:
      Speakers of each part with a share; a pure function of the arguments.
    """
    check_speakers(len(duration_of), ratio)
    share_of = {part: share for part, share in zip(PARTS, ratio, strict=True) if share}
    speakers_of: dict[str, list[str]] = {part: [] for part in share_of}
    filled = dict.fromkeys(share_of, 0.0)
    by_duration = sorted(duration_of, key=lambda speaker: (-duration_of[speaker], speaker))
    for position, speaker in enumerate(by_duration):
        empty = [part for part in share_of if not speakers_of[part]]
        candidates = empty if len(empty) == len(by_duration) - position else share_of
        part = min(candidates, key=lambda part: (filled[part] + duration_of[speaker]) / share_of[part])
        speakers_of[part].append(speaker)
        filled[part] += duration_of[speaker]
    return speakers_of
