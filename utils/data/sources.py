"""Sources of the utterances of an index: speakers, and the recordings that the features were computed from."""

import os
from typing import NamedTuple

import msgspec

from utils.data.index import Index
from utils.errors import CONTROL, DataError
from utils.files import BYTE_ORDER_MARK, decode_json


class Source(NamedTuple):
    """Source of an utterance.

    Attributes:
      speaker: name of the speaker; empty: unknown.
      audio_path: path of the recording; empty: unknown, as in indexes from before the field.
      start_secs: start of the utterance in the recording, seconds.
      end_secs: its end, seconds; None: the end of the recording.
    """

    speaker: str = ''
    audio_path: str = ''
    start_secs: float = 0.0
    end_secs: float | None = None


class _Line(msgspec.Struct, gc=False):
    speaker: str | int | None = None
    audio: str = ''
    start: float = 0.0
    end: float | None = None


def read_sources(index: Index) -> list[Source]:
    """Sources of an index's utterances, in its order; `Index` does without them, since training needs none.

    Raises:
      DataError: a field is of another type, or the files have changed since the index was read.
    """
    sources = []
    for path in index.index_paths:
        directory = os.path.dirname(path)
        with open(path, 'rb') as stream:
            for number, text in enumerate(stream, 1):
                text = text.removeprefix(BYTE_ORDER_MARK)
                if not text.isspace():
                    line = decode_json(text, _Line, path, 'an utterance', 'repair it or preprocess again', number)
                    audio = '' if CONTROL.search(line.audio) else line.audio and os.path.join(directory, line.audio)
                    speaker = '' if line.speaker is None else str(line.speaker)
                    sources.append(Source(speaker, audio, line.start, line.end))
    if len(sources) != len(index):
        raise DataError(f'{", ".join(index.index_paths)}: changed while it was read; run the same command again')
    return sources
