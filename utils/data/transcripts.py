"""The transcripts of an index: label ids, and which of them fit their frames; a million are counted in seconds."""

import logging
from collections.abc import Sequence

import numpy as np

from utils.data.index import Index
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError

log = logging.getLogger(__name__)

UNKNOWN = -1
LISTED = 5  # utterances named one by one in a message
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
