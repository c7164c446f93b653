"""Refusal of requests that other web sites make a browser send: cross-origin ones, and those by DNS rebinding."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from utils.serving.responses import error


class SameOrigin:
    """Middleware that lets only pages of this server use it, and programs, which send no Origin.

    A server at a loopback address also requires that the client calls it by such a name; the name of another site,
    which its owner may let point here, is refused.

    Args:
      app: the application.
      host: address that the server listens at.
    """

    def __init__(self, app: ASGIApp, host: str):
        self._app, self._host, self._is_local = app, host.lower(), is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(Headers(scope=scope)) if scope['type'] in ('http', 'websocket') else ''
        if not fault:
            await self._app(scope, receive, send)
            return
        response = error(403, fault, 'foreign_origin')
        if scope['type'] == 'websocket':
            websocket = WebSocket(scope, receive, send)
            await websocket.receive()
            await websocket.send_denial_response(response)
        else:
            await response(scope, receive, send)

    def _fault(self, headers: Headers) -> str:
        host, origin = headers.get('host', '').lower(), headers.get('origin')
        name = _name(f'//{host}')
        if self._is_local and name != self._host and not is_loopback(name):
            return f'the server is at {self._host}; a request to another name is refused'
        if origin is not None and urlsplit(origin.lower()).netloc != host:
            return 'a page of another site may not use this server; open its own page'
        return ''


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ''
    except ValueError:
        return ''


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for itself only."""
    try:
        return host.lower() == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
