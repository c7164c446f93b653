"""Limits of the server as options, and the error of a request that it refuses.

Standard library only, so that ``-h`` answers at once.
"""

from dataclasses import dataclass
from functools import partial

from models.config import option

_server = partial(option, group='server')
_limit = partial(option, group='limits')

RETRY_SECS = 5  # after which a client that was refused may try again


@dataclass(frozen=True)
class ServerOptions:
    """Address of the server, and what one request and all of them together may take."""

    host: str = _server(
        '127.0.0.1', help='address to listen at; 0.0.0.0 lets other machines use the server, without a password'
    )
    port: int = _server(8000, low=0, high=65535, help='port to listen at; 0: any that is free')
    max_upload_mb: float = _limit(100.0, low=0.001, high=100_000, help='largest file of a request, megabytes')
    max_audio_seconds: float = _limit(
        3600.0, low=1, high=1_000_000, help='longest recording of a request or live stream, seconds'
    )
    max_streams: int = _limit(32, low=1, high=10_000, help='live streams at once')
    max_waiting: int = _limit(64, low=1, high=100_000, help='requests for transcripts at once, waiting ones included')
    timeout: float = _limit(
        600.0, low=0.1, high=86_400,
        help='seconds that a request may take, and that a live stream may send nothing',
    )  # fmt: skip

    @property
    def upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1e6)


class RequestError(Exception):
    """A request that is refused or fails; the message is one sentence for the client.

    Attributes:
      status: HTTP status.
      code: short name of the fault for programs.
      param: field of the request that is wrong, if one is.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
