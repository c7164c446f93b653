"""``POST /v1/audio/transcriptions``: a multipart form with a recording in, its transcript out."""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from utils.errors import DataError, printable
from utils.recognition.transcribe import Transcript
from utils.serving.limits import RequestError, ServerOptions
from utils.serving.responses import FORMATS, GRANULARITIES, transcription
from utils.serving.uploads import UploadQueue

FIELD_BYTES = 1 << 16  # of a field other than the file, and of all of them with the boundaries
DRAIN_SECS = 5
# fields of OpenAI's clients that change nothing: one model is served, and it takes neither prompts nor sampling
IGNORED = {'model', 'prompt', 'temperature', 'stream', 'chunking_strategy', 'include', 'include[]'}
_GRANULARITIES = 'timestamp_granularities'
TAKEN = IGNORED | {'file', 'language', 'response_format', _GRANULARITIES, f'{_GRANULARITIES}[]'}


@dataclass(frozen=True)
class Fields:
    """Fields of a request that change the response."""

    file: UploadFile
    kind: str
    language: str
    granularities: tuple[str, ...]

    @classmethod
    def of(cls, form: FormData) -> 'Fields':
        """Checks the fields of a form; raises a `RequestError` that names one."""
        for name in form:
            if name not in TAKEN:
                raise _wrong(name[:40], f'no field is called {_shown(name)} here; leave it out')
        file = form.get('file')
        if not isinstance(file, UploadFile):
            raise _wrong('file', 'no file is in the form; send the recording as the field file, with a file name')
        kind = str(form.get('response_format', 'json'))
        if kind not in FORMATS:
            raise _wrong('response_format', f'{_shown(kind)} is none of {", ".join(FORMATS)}')
        wanted = [*form.getlist(f'{_GRANULARITIES}[]'), *form.getlist(_GRANULARITIES)]
        for each in wanted:
            if each not in GRANULARITIES:
                raise _wrong(_GRANULARITIES, f'{_shown(str(each))} is none of {", ".join(GRANULARITIES)}')
        if wanted and kind != 'verbose_json':
            raise _wrong(_GRANULARITIES, f'times are for verbose_json, not for {kind}; leave {_GRANULARITIES} out')
        language = str(form.get('language') or 'und')[:40]  # ISO 639-2: undetermined
        return cls(file, kind, language, tuple(map(str, wanted)) or GRANULARITIES)


def _shown(text: str) -> str:
    return repr(printable(text[:40]))


def _wrong(param: str, message: str) -> RequestError:
    return RequestError(400, 'invalid_field', message, param)


class Transcriptions:
    """The requests for transcripts.

    Args:
      uploads: queue of the engine.
      options: limits.
      separator: text between two words; empty for Chinese characters.
      directory: directory of uploaded files while they are transcribed.
    """

    def __init__(self, uploads: UploadQueue, options: ServerOptions, separator: str, directory: str):
        self._uploads, self._options = uploads, options
        self._separator, self._directory = separator, directory
        self._num_waiting, self.is_stopping = 0, False

    async def endpoint(self, request: Request) -> Response:
        """Answers a request; raises a `RequestError` for one that is refused or fails."""
        body = _Body(request.receive, self._options.upload_bytes)
        try:
            with self._place():
                return await self._answer(Request(request.scope, body.receive), body)
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody gets; so nginx logs it
        except (RequestError, HTTPException):
            if 'expect' not in request.headers:  # such a client sends its body only when it is asked to
                await body.drain()
            raise

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Counts a request while it is here; a `RequestError` if there are too many."""
        if self.is_stopping:
            raise RequestError(503, 'server_stopping', 'the server is stopping; try again when it is back')
        if self._num_waiting >= self._options.max_waiting:
            message = f'{self._num_waiting} requests wait, the limit of this server; try again later'
            raise RequestError(503, 'too_many_requests', message)
        self._num_waiting += 1
        try:
            yield
        finally:
            self._num_waiting -= 1

    async def _answer(self, request: Request, body: '_Body') -> Response:
        if request.headers.get('content-type', '').partition(';')[0].strip().lower() != 'multipart/form-data':
            raise RequestError(415, 'no_form', 'the request is no form; send it as multipart/form-data')
        body.check(request.headers.get('content-length', ''))
        end = time.monotonic() + self._options.timeout
        try:
            async with asyncio.timeout(self._options.timeout):
                form = await request.form(max_files=1, max_fields=64, max_part_size=FIELD_BYTES)
        except TimeoutError:
            raise RequestError(
                408, 'upload_timeout', f'the upload took longer than {self._options.timeout:g} s; send a smaller file'
            ) from None
        except OSError as error:
            raise _no_room(error) from None
        path = os.path.join(self._directory, secrets.token_hex(8))
        try:
            fields = Fields.of(form)
            if (fields.file.size or 0) > self._options.upload_bytes:
                raise body.too_large()
            try:
                await asyncio.to_thread(_copy, fields.file.file, path)
            except OSError as error:
                raise _no_room(error) from None
            transcript = await self._transcribe(path, fields, body, end)
        finally:
            await form.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return transcription(transcript, fields.kind, self._separator, fields.language, fields.granularities)

    async def _transcribe(self, path: str, fields: Fields, body: '_Body', end: float) -> Transcript:
        """Waits for the transcript, until the time is over or the client is gone."""
        transcript = asyncio.wrap_future(self._uploads.add(path))
        gone = asyncio.ensure_future(body.disconnected())
        try:
            either: set[asyncio.Future] = {transcript, gone}
            await asyncio.wait(either, timeout=end - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            if not transcript.done():
                if gone.done():
                    raise ClientDisconnect
                raise RequestError(
                    504, 'timeout', f'the transcript was not ready after {self._options.timeout:g} s; send a shorter '
                    'recording, or try again when the server is less busy',
                )  # fmt: skip
            return transcript.result()
        except DataError as error:
            message = str(error).replace(path, printable((fields.file.filename or 'file')[:100]))
            raise RequestError(400, 'invalid_audio', message, 'file') from None
        except (RequestError, ClientDisconnect):
            raise
        except Exception:
            message = "the recogniser failed; the server's log has the reason"
            raise RequestError(500, 'recognition_failed', message) from None
        finally:
            gone.cancel()
            transcript.cancel()


def _no_room(error: OSError) -> RequestError:
    reason = (error.strerror or str(error)).lower()
    return RequestError(507, 'no_room', f'the server cannot keep the upload ({reason}); try again later')


def _copy(source: BinaryIO, path: str) -> None:
    source.seek(0)
    with open(path, 'wb') as target:
        shutil.copyfileobj(source, target)


class _Body:
    """The body of a request, of a limited size."""

    def __init__(self, receive: Receive, most: int):
        self._receive, self._most = receive, most
        self._num_bytes, self._has_ended = 0, False

    def check(self, content_length: str) -> None:
        """Raises a `RequestError` if the length that the header gives is beyond the limit."""
        if content_length.isdigit() and int(content_length) > self._most + FIELD_BYTES:
            raise self.too_large()

    def too_large(self) -> RequestError:
        return RequestError(
            413, 'upload_too_large', f'the file is larger than {self._most / 1e6:g} MB, the limit of this server; '
            'cut it, or compress it as FLAC or OGG', 'file',
        )  # fmt: skip

    async def receive(self) -> Message:
        """The next part; a `RequestError` beyond the limit."""
        message = await self._receive()
        self._has_ended = not message.get('more_body', False)
        self._num_bytes += len(message.get('body', b''))
        if self._num_bytes > self._most + FIELD_BYTES:
            raise self.too_large()
        return message

    async def drain(self) -> None:
        """Takes the rest for a few seconds: many clients read no response before they have sent everything."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECS):
                while not self._has_ended:
                    self._has_ended = not (await self._receive()).get('more_body', False)

    async def disconnected(self) -> None:
        """Returns when the client is gone, after the end of the body."""
        while (await self._receive())['type'] != 'http.disconnect':
            pass
