"""Transcription of audio files: long recordings are cut at silences, and their pieces are recognised in batches."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from utils.data.audio import SAMPLE_RATE, read_audio
from utils.data.features import FeatureSpec, extract
from utils.data.segment import segments
from utils.decode import hypothesis as decoded
from utils.decode.hypothesis import Hypothesis, Word
from utils.errors import DataError, describe_os_error

if TYPE_CHECKING:  # TensorFlow is not needed to find that there is no audio
    from utils.recognition.recognizer import Recognizer

AUDIO_SUFFIXES = ('.flac', '.wav', '.ogg', '.oga', '.opus', '.mp3', '.aif', '.aiff', '.aifc', '.au', '.w64', '.caf')
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
    """

    file: str
    text: str
    duration: float
    confidence: float | None
    words: tuple[Word, ...]

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``, with times to the millisecond."""

        def describe(word):
            times = {'start': round(word.start, 3), 'end': round(word.end, 3)}
            return {'word': word.word, **times, 'confidence': round(word.confidence, 4)}

        return {
            'file': self.file,
            'text': self.text,
            'duration': round(self.duration, 3),
            'confidence': None if self.confidence is None else round(self.confidence, 4),
            'words': [describe(word) for word in self.words],
        }


def find_audio(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Finds the audio files that paths name, in directories at any depth and in sorted order.

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

    for parent, directories, names in os.walk(directory, onerror=on_error):
        directories.sort()
        for name in sorted(names):
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith('.'):
                yield os.path.join(parent, name)


class _Recording(NamedTuple):
    """A file that was read: start of each piece in seconds, and features of each piece."""

    file: str
    duration: float
    starts: list[float]
    pieces: list[np.ndarray]


def transcribe(
    files: Iterable[str], recognizer: 'Recognizer', batch_size: int, longest_secs: float = 20.0
) -> Iterator[Transcript | DataError]:
    """Transcribes files, some batches at a time.

    Args:
      files: audio files.
      recognizer: trained model.
      batch_size: pieces recognised at once.
      longest_secs: longest piece in seconds; longer recordings are cut at silences.

    Yields:
      The `Transcript` of each file in order, or the `DataError` of one that cannot be read.
    """
    waiting: list[_Recording | DataError] = []
    num_pieces = 0
    for file in files:
        try:
            recording = _read(file, recognizer.spec, longest_secs)
            num_pieces += len(recording.pieces)
            waiting.append(recording)
        except DataError as error:
            message = str(error)
            waiting.append(error if file in message else DataError(f'{file}: {message}'))
        except OSError as error:
            waiting.append(DataError(describe_os_error(error)))
        if num_pieces >= BATCHES_PER_ROUND * batch_size:
            yield from _answer(waiting, recognizer, batch_size)
            waiting, num_pieces = [], 0
    yield from _answer(waiting, recognizer, batch_size)


def _read(file: str, spec: FeatureSpec, longest_secs: float) -> _Recording:
    samples = read_audio(file)
    cut = segments(samples, SAMPLE_RATE, longest_secs)
    pieces = [extract(piece, spec) for _, piece in cut]
    return _Recording(file, len(samples) / SAMPLE_RATE, [start for start, _ in cut], pieces)


def _answer(
    waiting: Sequence[_Recording | DataError], recognizer: 'Recognizer', batch_size: int
) -> Iterator[Transcript | DataError]:
    pieces = [piece for each in waiting if isinstance(each, _Recording) for piece in each.pieces]
    hypotheses = iter(recognizer.recognize(pieces, batch_size) if pieces else ())
    for each in waiting:
        if isinstance(each, DataError):
            yield each
        else:
            yield _join(each, [next(hypotheses) for _ in each.pieces], recognizer)


def _join(recording: _Recording, hypotheses: Sequence[Hypothesis], recognizer: 'Recognizer') -> Transcript:
    vocabulary, end = recognizer.vocabulary, recording.duration
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None
    separator = ' ' if vocabulary.has_space else vocabulary.separator
    words = [
        # the last output frame may reach beyond the last sample
        replace(word, start=min(word.start, end), end=min(word.end, end))
        for start, hypothesis in zip(recording.starts, hypotheses, strict=True)
        for word in decoded.words(hypothesis, vocabulary.tokens, space_id, recognizer.secs_per_frame, start)
    ]
    spans = [span for hypothesis in hypotheses for span in hypothesis.frames]
    text, confidence = separator.join(word.word for word in words), decoded.confidence(spans) if spans else None
    return Transcript(recording.file, text, end, confidence, tuple(words))
