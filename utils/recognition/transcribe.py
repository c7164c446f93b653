"""Audio files to text: find them, cut the long ones at silences, recognise the pieces in batches, join the texts."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from utils.errors import DataError, describe_os_error

if TYPE_CHECKING:
    import numpy as np

    from utils.data.features import FeatureSpec
    from utils.data.vocabulary import Vocabulary
    from utils.decode.hypothesis import Hypothesis, Word

AUDIO_SUFFIXES = ('.flac', '.wav', '.ogg', '.oga', '.opus', '.mp3', '.aif', '.aiff', '.aifc', '.au', '.w64', '.caf')
BATCHES_PER_ROUND = 8  # pieces read before the recogniser is asked: enough to sort by length, little enough to wait for


class Recognizer(Protocol):
    """What a trained model offers here."""

    vocabulary: 'Vocabulary'
    spec: 'FeatureSpec'
    secs_per_frame: float

    def recognize(self, features: 'list[np.ndarray]', batch_size: int) -> 'list[Hypothesis]': ...


@dataclass(frozen=True)
class Transcript:
    """What was heard in one file.

    Attributes:
      file: the path as it was given or found.
      text: the words, joined.
      duration: of the recording, in seconds.
      confidence: in [0, 1], the geometric mean of the posteriors of the frames that show a symbol;
        None where nothing was heard.
      words: with times in seconds.
    """

    file: str
    text: str
    duration: float
    confidence: float | None
    words: 'tuple[Word, ...]'

    def to_json(self) -> dict[str, Any]:
        """For ``json.dumps``; times to the millisecond."""
        words = [
            {
                'word': word.word,
                'start': round(word.start, 3),
                'end': round(word.end, 3),
                'confidence': round(word.confidence, 4),
            }
            for word in self.words
        ]
        return {
            'file': self.file,
            'text': self.text,
            'duration': round(self.duration, 3),
            'confidence': None if self.confidence is None else round(self.confidence, 4),
            'words': words,
        }


def find_audio(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Finds the files that paths name: themselves, or the audio in directories and all below them, in sorted order.

    Returns:
      The files, and a line for each path that names none.
    """
    files, problems = [], []
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


@dataclass
class _Recording:
    file: str
    duration: float
    starts: list[float]
    pieces: 'list[np.ndarray]'


def transcribe(
    files: Iterable[str], recognizer: Recognizer, batch_size: int, longest_secs: float = 20.0
) -> Iterator[Transcript | DataError]:
    """Transcribes files, a round of some batches at a time.

    Args:
      files: audio files.
      recognizer: see `Recognizer`.
      batch_size: pieces recognised at once.
      longest_secs: longer recordings are cut at silences.

    Yields:
      For each file in order its `Transcript`, or the `DataError` of one that could not be read.
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


def _read(file: str, spec: 'FeatureSpec', longest_secs: float) -> _Recording:
    from utils.data.audio import SAMPLE_RATE, read_audio
    from utils.data.features import extract
    from utils.data.segment import segments

    samples = read_audio(file)
    cut = segments(samples, SAMPLE_RATE, longest_secs)
    return _Recording(
        file, len(samples) / SAMPLE_RATE, [start for start, _ in cut], [extract(piece, spec) for _, piece in cut]
    )


def _answer(
    waiting: 'Sequence[_Recording | DataError]', recognizer: Recognizer, batch_size: int
) -> Iterator[Transcript | DataError]:
    pieces = [piece for recording in waiting if isinstance(recording, _Recording) for piece in recording.pieces]
    hypotheses = iter(recognizer.recognize(pieces, batch_size) if pieces else ())
    for recording in waiting:
        if isinstance(recording, DataError):
            yield recording
        else:
            yield _join(recording, [next(hypotheses) for _ in recording.pieces], recognizer)


def _join(recording: _Recording, hypotheses: 'Sequence[Hypothesis]', recognizer: Recognizer) -> Transcript:
    from utils.decode import hypothesis as decoded

    vocabulary = recognizer.vocabulary
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None
    separator = ' ' if vocabulary.has_space else vocabulary.separator
    words = [
        # the last output frame may reach beyond the last sample
        replace(word, start=min(word.start, recording.duration), end=min(word.end, recording.duration))
        for start, hypothesis in zip(recording.starts, hypotheses, strict=True)
        for word in decoded.words(hypothesis, vocabulary.tokens, space_id, recognizer.secs_per_frame, start)
    ]
    spans = [span for hypothesis in hypotheses for span in hypothesis.frames]
    return Transcript(
        recording.file,
        separator.join(word.word for word in words),
        recording.duration,
        decoded.confidence(spans) if spans else None,
        tuple(words),
    )
