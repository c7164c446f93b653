"""Transcripts of an index: encoding, symbol frequencies, and the check that they fit their frames under CTC."""

import logging
from collections.abc import Sequence

import numpy as np

from utils.data.index import Index
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError

log = logging.getLogger(__name__)

UNKNOWN = -1
LISTED = 5  # utterances listed one by one in the log; the others are counted
_CHUNK = 8192  # transcripts counted at once, in a few megabytes


def frames_needed(labels: Sequence[int]) -> int:
    """Output frames that CTC needs for a transcript: one per symbol, and a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in zip(labels, labels[1:], strict=False))


def count_frames_needed(texts: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """`frames_needed` of each transcript, int64 `[transcripts]`; UNKNOWN where a unit is outside the vocabulary."""
    chunks = [texts[first : first + _CHUNK] for first in range(0, len(texts), _CHUNK)]
    return np.concatenate([_count_chunk(chunk, vocabulary) for chunk in chunks] or [np.zeros(0, np.int64)])


def _count_chunk(texts: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    units = [vocabulary.split(text) for text in texts]
    if all(type(each) is str for each in units):  # units are characters: counted with numpy
        return _count_characters([str(each) for each in units], ''.join(vocabulary.tokens))
    return np.array(
        [UNKNOWN if vocabulary.unknown(text) else frames_needed(vocabulary.encode(text)) for text in texts], np.int64
    )


def _count_characters(texts: Sequence[str], alphabet: str) -> np.ndarray:
    """Counts `frames_needed` on one array with the code points of all texts, each followed by a line feed."""
    codes, known = (
        np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        for text in ('\n'.join([*texts, '']), alphabet)
    )
    is_known = np.zeros(max(codes.max(), known.max()) + 1, bool)
    is_known[known] = True
    lengths = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths + 1) - 1
    starts = ends - lengths
    repeats = np.concatenate([[0, 0], np.cumsum(codes[1:] == codes[:-1])])  # [i]: repeats in the first i characters
    unknown = np.concatenate([[0], np.cumsum(~is_known[codes])])
    needed = lengths + repeats[ends] - repeats[np.minimum(starts + 1, ends)]
    return np.where(unknown[ends] > unknown[starts], UNKNOWN, needed)


def fitting_rows(index: Index, vocabulary: Vocabulary, time_stride: int) -> np.ndarray:
    """Mask of the transcripts that the vocabulary spells and that fit their frames under CTC, bool `[utterances]`.

    Args:
      index: the utterances.
      vocabulary: vocabulary of the run.
      time_stride: input frames per output frame; 0: transcripts may have any length but 0.
    """
    return _fit(count_frames_needed(index.texts, vocabulary), index, time_stride)


def _fit(needed: np.ndarray, index: Index, time_stride: int) -> np.ndarray:
    return (needed > 0) & (needed <= -(-index.frames // time_stride) if time_stride else True)


def rows_with_loss(index: Index, vocabulary: Vocabulary, time_stride: int) -> np.ndarray:
    """`fitting_rows` of an index that is scored, with the others counted in the log.

    Raises:
      DataError: all transcripts have units outside the vocabulary.
    """
    needed = count_frames_needed(index.texts, vocabulary)
    fits, unknown = _fit(needed, index, time_stride), np.flatnonzero(needed == UNKNOWN)
    if len(unknown) == len(index):
        encode(index, 0, vocabulary)  # raises the error
    paths, num_short = ' '.join(index.index_paths), int((~fits).sum()) - len(unknown)
    if len(unknown):
        units = ' '.join(vocabulary.unknown(index.texts[unknown[0]]))
        log.warning(
            '%s: %d of %d transcripts have units outside the vocabulary, which count as errors; they have no loss; '
            'the first: %s: %s', paths, len(unknown), len(index), index.where(unknown[0]), units,
        )  # fmt: skip
    if num_short:
        log.warning('%s: %d transcripts are empty or do not fit their frames, and have no loss', paths, num_short)
    return fits


def usable_rows(index: Index, vocabulary: Vocabulary, time_stride: int) -> np.ndarray:
    """Rows of the transcripts that fit, int64; the others are logged. Arguments as in `fitting_rows`.

    Raises:
      DataError: a transcript has a unit outside the vocabulary, or no transcript fits.
    """
    needed = count_frames_needed(index.texts, vocabulary)
    for row in np.flatnonzero(needed == UNKNOWN)[:1]:
        encode(index, row, vocabulary)  # raises the error
    fits = _fit(needed, index, time_stride)
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
    """Label ids of one utterance.

    Raises:
      DataError: the transcript has a unit outside the vocabulary.
    """
    try:
        return vocabulary.encode(index.texts[row])
    except DataError as error:
        raise DataError(f'{index.where(row)}: {error}') from None


def symbol_frequencies(index: Index, vocabulary: Vocabulary) -> np.ndarray:
    """Relative frequency of each symbol and, last, of the end of a transcript, `[vocabulary + 1]`, with sum 1."""
    counts = np.zeros(len(vocabulary) + 1)
    counts[-1] = len(index)
    for row in range(len(index)):
        counts += np.bincount(encode(index, row, vocabulary), minlength=len(counts))
    return counts / counts.sum()


def references(index: Index, vocabulary: Vocabulary) -> list[str]:
    """Transcripts as `Vocabulary.decode` writes them, with the units outside the vocabulary, which are always wrong."""
    return [vocabulary.spell(text) for text in index.texts]
