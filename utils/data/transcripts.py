"""Facts about the transcripts of a whole index, a million of which are counted in seconds."""

from collections.abc import Sequence

import numpy as np

from utils.data.vocabulary import Vocabulary
from utils.errors import DataError

UNKNOWN = -1
_CHUNK = 8192  # transcripts taken at once: some megabytes


def frames_needed(labels: Sequence[int]) -> int:
    """Output frames that CTC needs for a transcript: its symbols, and a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in zip(labels, labels[1:], strict=False))


def count_frames_needed(texts: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """`frames_needed` of each transcript, int64 `[transcripts]`; UNKNOWN for one that the vocabulary cannot spell."""
    chunks = [texts[first : first + _CHUNK] for first in range(0, len(texts), _CHUNK)]
    return np.concatenate([_count_chunk(chunk, vocabulary) for chunk in chunks] or [np.zeros(0, np.int64)])


def _count_chunk(texts: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    units = [vocabulary.split(text) for text in texts]
    if all(type(each) is str for each in units):  # a unit is a character: counted without a Python object for each
        return _count_characters(units, ''.join(vocabulary.tokens))
    return np.array([_count_one(text, vocabulary) for text in texts], np.int64)


def _count_one(text: str, vocabulary: Vocabulary) -> int:
    try:
        return frames_needed(vocabulary.encode(text))
    except DataError:
        return UNKNOWN


def _count_characters(texts: Sequence[str], alphabet: str) -> np.ndarray:
    """All texts as one array of code points, a line feed after each."""
    codes, known = (
        np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        for text in ('\n'.join([*texts, '']), alphabet)
    )
    is_known = np.zeros(max(codes.max(), known.max()) + 1, bool)
    is_known[known] = True
    lengths = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths + 1) - 1
    starts = ends - lengths
    repeats = np.concatenate([[0, 0], np.cumsum(codes[1:] == codes[:-1])])  # [i]: among the first i characters
    unknown = np.concatenate([[0], np.cumsum(~is_known[codes])])
    needed = lengths + repeats[ends] - repeats[np.minimum(starts + 1, ends)]
    return np.where(unknown[ends] > unknown[starts], UNKNOWN, needed)
