"""Transcription of audio files: long recordings are cut at silences, and their pieces are recognised in batches."""

import collections
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.audio.checks import AUDIO_SUFFIXES
from utils.audio.reader import SAMPLE_RATE, read_blocks
from utils.audio.segment import segments
from utils.decode import hypothesis as decoded
from utils.decode.hypothesis import Span, Word
from utils.errors import DataError, describe_os_error

if TYPE_CHECKING:  # TensorFlow is not needed to find that there is no audio
    from utils.recognition.ensemble import Ensemble
    from utils.recognition.recognizer import Recognizer

log = logging.getLogger(__name__)

OTHER_SUFFIXES = tuple('.m4a .mp4 .aac .wma .amr .3gp .webm .mka .ape .wv .ac3 .spx'.split())  # not of libsndfile
BATCHES_PER_ROUND = 8  # batches read before the first is recognised: enough to sort by length, and a short wait


@dataclass(frozen=True)
class Transcript:
    """The text of one file.

    Attributes:
      file: path as it was given or found.
      text: recognised words, joined.
      duration: length of the recording, seconds.
      confidence: geometric mean of the posteriors of the frames that show a symbol, in [0, 1]; None for an empty text.
      words: recognised words, with times in seconds.
      symbols: their symbols likewise, without spaces.
    """

    file: str
    text: str
    duration: float
    confidence: float | None
    words: tuple[Word, ...]
    symbols: tuple[Word, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``, with times to the millisecond."""

        return {
            'file': self.file,
            'text': self.text,
            'duration': round(self.duration, 3),
            'confidence': None if self.confidence is None else round(self.confidence, 4),
            'words': [word.to_json() for word in self.words],
        }


def find_audio(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Finds the audio files that paths name, in directories at any depth and in sorted order.

    What is left out of a directory is counted in the log: other audio, special files, links to directories.

    Returns:
      The files, and a message for each path without any.
    """
    files: list[str] = []
    problems: list[str] = []
    for argument in arguments:
        if os.path.isdir(argument):
            below = list(_walk(argument, problems))
            if not below:
                problems.append(f'{argument}: no audio in this directory ({" ".join(AUDIO_SUFFIXES)})')
            files += below
        elif os.path.exists(argument):
            files.append(argument)
        else:
            problems.append(f'{argument}: no such file or directory; check the path')
    return files, problems


def _walk(directory: str, problems: list[str]) -> Iterator[str]:
    def on_error(error: OSError) -> None:
        problems.append(describe_os_error(error))

    left_out: collections.Counter[str] = collections.Counter()
    for parent, directories, names in os.walk(directory, onerror=on_error):
        directories.sort()
        left_out['links to directories'] += sum(os.path.islink(os.path.join(parent, name)) for name in directories)
        for name in sorted(names):
            path, suffix = os.path.join(parent, name), os.path.splitext(name)[1].lower()
            if name.startswith('.') or suffix not in AUDIO_SUFFIXES + OTHER_SUFFIXES:
                continue
            if suffix in OTHER_SUFFIXES:
                left_out[f'{suffix} files that cannot be read'] += 1
            elif os.path.exists(path) and not os.path.isfile(path):
                left_out['special files'] += 1
            else:
                yield path
    if counts := ', '.join(f'{what}: {count}' for what, count in left_out.items() if count):
        log.warning('%s: left out: %s', directory, counts)


@dataclass
class Recording:
    """A file of which some pieces may wait to be recognised; ``error`` takes the place of its transcript."""

    file: str
    num_samples: int = 0
    is_read: bool = False
    error: DataError | None = None
    words: list[Word] = field(default_factory=list)
    symbols: list[Word] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


Piece = tuple[Recording, float, Any]  # recording, start of the piece in seconds, features of `Recognizer.extract`


def transcribe(
    files: Iterable[str], recognizer: 'Recognizer | Ensemble', batch_size: int, longest_secs: float = 20.0
) -> Iterator[Transcript | DataError]:
    """Transcribes files, some batches of pieces at a time; a long recording is never in memory as a whole.

    Args:
      files: audio files.
      recognizer: trained model, or several.
      batch_size: pieces recognised at once.
      longest_secs: longest piece in seconds; longer recordings are cut at silences.

    Yields:
      The `Transcript` of each file in order, or the `DataError` of one that cannot be read.
    """
    waiting: collections.deque[Recording] = collections.deque()
    pieces: list[Piece] = []
    for file in files:
        recording = Recording(file)
        waiting.append(recording)
        for piece in read_pieces(recording, recognizer.extract, longest_secs):
            pieces.append((recording, *piece))
            if len(pieces) >= BATCHES_PER_ROUND * batch_size:
                recognize_pieces(pieces, recognizer, batch_size)
                pieces = []
                while waiting[0].is_read:
                    yield transcript_of(waiting.popleft(), recognizer)
    if pieces:
        recognize_pieces(pieces, recognizer, batch_size)
    yield from (transcript_of(recording, recognizer) for recording in waiting)


def read_pieces(
    recording: Recording, extract: Callable[[np.ndarray], Any], longest_secs: float
) -> Iterator[tuple[float, Any]]:
    """Start in seconds and features of each piece; what is wrong with the file becomes the recording's error."""
    warnings: list[str] = []
    try:
        for start, samples in segments(read_blocks(recording.file, warnings), SAMPLE_RATE, longest_secs):
            recording.num_samples += len(samples)
            yield start, extract(samples)
    except DataError as error:
        message = str(error)
        recording.error = error if recording.file in message else DataError(f'{recording.file}: {message}')
    recording.is_read = True
    for warning in warnings:
        log.warning('%s: %s', recording.file, warning)


def recognize_pieces(pieces: Sequence[Piece], recognizer: 'Recognizer | Ensemble', batch_size: int) -> None:
    """Adds words and spans to the recordings of the pieces; those of one recording must come in their order."""
    vocabulary = recognizer.vocabulary
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None
    hypotheses = recognizer.recognize([features for _, _, features in pieces], batch_size)
    for (recording, start, _), hypothesis in zip(pieces, hypotheses, strict=True):
        clock = recognizer.secs_per_frame, start
        recording.words += decoded.words(hypothesis, vocabulary.tokens, space_id, *clock)
        symbols = decoded.words(hypothesis, vocabulary.tokens, None, *clock)
        recording.symbols += [symbol for symbol in symbols if symbol.word != ' ']
        if spans := hypothesis.frames:  # the sums suffice for the confidence
            num_frames = sum(span.end_frame - span.start_frame for span in spans)
            recording.spans.append(Span(0, num_frames, sum(span.log_prob for span in spans)))


def transcript_of(recording: Recording, recognizer: 'Recognizer | Ensemble') -> Transcript | DataError:
    """The transcript of a recording whose pieces have all been recognised, or its error."""
    if recording.error:
        return recording.error
    vocabulary, end = recognizer.vocabulary, recording.num_samples / SAMPLE_RATE
    separator = ' ' if vocabulary.has_space else vocabulary.separator
    # the last output frame may reach beyond the last sample
    words, symbols = (
        tuple(replace(each, start=min(each.start, end), end=min(each.end, end)) for each in found)
        for found in (recording.words, recording.symbols)
    )
    confidence = decoded.confidence(recording.spans) if recording.spans else None
    return Transcript(recording.file, separator.join(word.word for word in words), end, confidence, words, symbols)
