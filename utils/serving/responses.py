"""Responses in the formats of OpenAI's audio API."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from utils.decode.hypothesis import Word
from utils.recognition.formats import PAUSE_MS, render
from utils.recognition.transcribe import Transcript
from utils.serving.limits import RETRY_SECS, RequestError

FORMATS = ('json', 'text', 'srt', 'verbose_json', 'vtt')
GRANULARITIES = ('word', 'segment')
LONGEST_SEGMENT_SECS = 30.0
_MEDIA_TYPES = {'text': 'text/plain', 'srt': 'application/x-subrip', 'vtt': 'text/vtt'}


def transcription(
    transcript: Transcript, kind: str, separator: str, language: str, granularities: Collection[str]
) -> Response:
    """The answer to a request.

    Args:
      transcript: the recognised text.
      kind: one of `FORMATS`.
      separator: text between two words; empty for Chinese characters.
      language: language for the JSON with details; it is not detected.
      granularities: of `GRANULARITIES`, those wanted in the JSON with details.
    """
    if kind in _MEDIA_TYPES:
        return PlainTextResponse(render(kind, transcript, separator), media_type=_MEDIA_TYPES[kind])
    if kind == 'json':
        return JSONResponse({'text': transcript.text})
    return JSONResponse(verbose(transcript, separator, language, granularities))


def verbose(transcript: Transcript, separator: str, language: str, granularities: Collection[str]) -> dict[str, Any]:
    """The text with the times of words and segments, in seconds; arguments as in `transcription`."""
    found = {'task': 'transcribe', 'language': language, **transcript.to_json()}
    del found['file']
    words = found.pop('words')
    if 'word' in granularities:
        found['words'] = words
    if 'segment' in granularities:
        found['segments'] = [_segment(i, each, separator) for i, each in enumerate(split(transcript.words))]
    return found


def split(words: Sequence[Word]) -> list[list[Word]]:
    """Words in segments, which end at pauses and after 30 seconds."""
    segments: list[list[Word]] = []
    for word in words:
        last = segments[-1] if segments else []
        is_pause = last and 1000 * (word.start - last[-1].end) >= PAUSE_MS
        if not last or is_pause or word.end - last[0].start > LONGEST_SEGMENT_SECS:
            segments.append([])
        segments[-1].append(word)
    return segments


def _segment(number: int, words: list[Word], separator: str) -> dict[str, Any]:
    # clients of Whisper require the fields from `seek` on; those without a meaning here are constant
    log_probs = [math.log(max(word.confidence, 1e-9)) for word in words]
    return {
        'id': number,
        'start': round(words[0].start, 3),
        'end': round(words[-1].end, 3),
        'text': separator.join(word.word for word in words),
        'avg_logprob': round(sum(log_probs) / len(log_probs), 4),
        'seek': 0,
        'tokens': [],
        'temperature': 0.0,
        'compression_ratio': 1.0,
        'no_speech_prob': 0.0,
    }


def error(status: int, message: str, code: str, param: str | None = None) -> JSONResponse:
    """An error as OpenAI's clients expect it."""
    kind = 'server_error' if status >= 500 else 'invalid_request_error'
    headers = {'Retry-After': str(RETRY_SECS)} if status == 503 else None
    return JSONResponse(
        {'error': {'message': message, 'type': kind, 'param': param, 'code': code}}, status, headers=headers
    )


def of_error(failure: RequestError) -> JSONResponse:
    return error(failure.status, str(failure), failure.code, failure.param)
