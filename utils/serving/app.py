"""The HTTP server: routes, start, and an end that lets requests finish."""

import contextlib
import errno
import http
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from utils.audio.resample import SAMPLE_RATE
from utils.decode.options import DecodingOptions
from utils.errors import DataError
from utils.run_directory import Run
from utils.serving import responses
from utils.serving.engine import Engine, load_engine, refusal_to_stream
from utils.serving.guard import SameOrigin
from utils.serving.limits import RequestError, ServerOptions
from utils.serving.sockets import MAX_MESSAGE_BYTES, LiveSockets
from utils.serving.transcriptions import Transcriptions

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name('page.html')
_PAGE_HEADERS = {
    'Content-Security-Policy': "frame-ancestors 'none'",  # the rest is in the page
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
}


class Site:
    """The routes around an engine.

    Args:
      engine: model at work.
      run: its run.
      options: address and limits.
      directory: directory for uploaded files.
    """

    def __init__(self, engine: Engine, run: Run, options: ServerOptions, directory: str):
        self._engine, self._options, self._name = engine, options, model_name(run)
        self._created = int(os.path.getmtime(run.path))
        self._refusal = refusal_to_stream(run.config.model, self._name)
        self._page = PAGE.read_text()
        separator = ' ' if run.vocabulary.has_words else ''
        self.transcriptions = Transcriptions(engine.uploads, options, separator, directory)
        self.sockets = LiveSockets(engine.streams, options, self._refusal)

    def app(self) -> Starlette:
        routes = [
            Route('/', self._index),
            Route('/healthz', self._health),
            Route('/v1/info', self._info),
            Route('/v1/models', self._models),
            Route('/v1/models/{name:path}', self._model),
            Route('/v1/audio/transcriptions', self.transcriptions.endpoint, methods=['POST']),
            WebSocketRoute('/v1/stream', self.sockets.endpoint),
        ]
        handlers: Any = {RequestError: _refused, HTTPException: _http_error, Exception: _failed}
        return Starlette(
            routes=routes, exception_handlers=handlers, middleware=[Middleware(SameOrigin, host=self._options.host)]
        )

    async def _index(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=_PAGE_HEADERS)

    async def _health(self, request: Request) -> Response:
        if not self._engine.is_running:
            return responses.error(503, 'the recogniser has stopped; start the server again', 'stopped')
        return JSONResponse({'status': 'ok'})

    async def _info(self, request: Request) -> Response:
        options = self._options
        limits = {
            'upload_bytes': options.upload_bytes,
            'audio_seconds': options.max_audio_seconds,
            'streams': options.max_streams,
        }
        return JSONResponse({
            'model': self._name, 'streaming': not self._refusal, 'reason': self._refusal, 'sample_rate': SAMPLE_RATE,
            'limits': limits,
        })  # fmt: skip

    async def _models(self, request: Request) -> Response:
        return JSONResponse({'object': 'list', 'data': [self._description()]})

    async def _model(self, request: Request) -> Response:
        if (name := request.path_params['name']) != self._name:
            raise RequestError(404, 'model_not_found', f'no model {name!r} is here, only {self._name!r}', 'model')
        return JSONResponse(self._description())

    def _description(self) -> dict[str, Any]:
        return {'id': self._name, 'object': 'model', 'created': self._created, 'owned_by': 'local'}


def model_name(run: Run) -> str:
    """Name of the model for clients: that of its run directory."""
    return os.path.basename(os.path.realpath(run.path)) or 'model'


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return responses.of_error(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    message = f'{request.method} {request.url.path}: {phrase.lower()}' if error.detail == phrase else error.detail
    response = responses.error(error.status_code, message, phrase.lower().replace(' ', '_'))
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return responses.error(500, "the server failed; its log has the reason", 'failed')


def listen(options: ServerOptions) -> socket.socket:
    """A socket at the address of the options; a `DataError` if that is in use or not of this machine."""
    where = f'port {options.port} of {options.host}'
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, 'strerror', None) or str(error)).lower()
        remedy = 'name another with --host'
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            remedy = 'end the program that uses it, or name another with --port'
        elif isinstance(error, PermissionError):
            remedy = 'name one above 1023 with --port'
        raise DataError(f'{where}: {reason}; {remedy}') from None
    return listener


class _Server(uvicorn.Server):
    """Ends with status 0 after a signal, when streams and requests have ended; a second SIGINT ends it at once."""

    def __init__(self, config: uvicorn.Config, site: Site):
        super().__init__(config)
        self._site = site

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        numbers = signal.SIGINT, signal.SIGTERM
        old = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._site.transcriptions.is_stopping = True
        await self._site.sockets.end_all()  # uvicorn would cut them
        await super().shutdown(sockets)


def serve(
    run: Run, decoding: DecodingOptions, options: ServerOptions, batch_size: int, longest_secs: float, endpoint_ms: int
) -> int:
    """Serves a model until SIGINT or SIGTERM; arguments and errors as in `load_engine` and `listen`.

    Returns:
      Exit status: 0, or 130 if a second SIGINT cut what was going on.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(options))
        engine = load_engine(run, model_name(run), decoding, options, batch_size, longest_secs, endpoint_ms)
        stack.callback(engine.stop)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix='serve-'))
        _keep_stderr()
        site = Site(engine, run, options, directory)
        config = uvicorn.Config(
            site.app(), log_config=None, lifespan='off', ws='websockets-sansio', ws_max_size=4 * MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False, http='h11', loop='asyncio', server_header=False, date_header=True,
        )  # fmt: skip
        server = _Server(config, site)
        host, port = listener.getsockname()[:2]
        log.info('serving %s at http://%s:%d', model_name(run), f'[{host}]' if ':' in host else host, port)
        server.run(sockets=[listener])
    return 130 if server.force_exit else 0


def _keep_stderr() -> None:
    """Logs to a copy of the descriptor, which is closed for moments while an MP3 is read."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setStream(os.fdopen(os.dup(2), 'w', buffering=1, errors='backslashreplace'))
