"""Serves a trained model over HTTP: transcripts of uploaded recordings and of live audio, and a page for both."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, add_options, count, given_options, number  # noqa: E402
from utils.decode.options import HOTWORD_FLAGS, LAS_FLAGS, LM_FLAGS, DecodingOptions, resolve_decoding  # noqa: E402
from utils.errors import DataError, run_main  # noqa: E402
from utils.recognition.live_options import LiveOptions  # noqa: E402
from utils.serving.limits import ServerOptions  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402

REQUIREMENTS = 'scripts/requirements-serve.txt'
PACKAGES = 'starlette', 'uvicorn', 'python_multipart', 'websockets'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='serve.py',
        description="Serve a trained model: POST /v1/audio/transcriptions as OpenAI's clients send it, the websocket "
        '/v1/stream for live audio (ds2 of one direction), and a page at /. Ctrl-C or SIGTERM ends it when the '
        f'requests in work are answered. Needs the packages of {REQUIREMENTS}.',
    )
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run directory, or packed run')
    parser.add_argument('-b', '--batch_size', type=count, default=8, help='pieces of recordings recognised at once')
    parser.add_argument(
        '--longest', type=number(float, 1, 3600), default=20.0, metavar='SECONDS',
        help='cut longer recordings at silences into pieces of at most this many seconds',
    )  # fmt: skip
    add_options(parser, ServerOptions)
    add_options(parser, LiveOptions, ('endpoint_ms',))
    add_options(parser, DecodingOptions, ('checkpoint', 'beam_width', 'lm', *LM_FLAGS, *HOTWORD_FLAGS, *LAS_FLAGS))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    for name in PACKAGES:
        if not importlib.util.find_spec(name):
            raise DataError(
                f'{sys.executable} has no module {name}; install what the server needs with: '
                f'{sys.executable} -m pip install -r {REQUIREMENTS}'
            )
    from utils.run_directory import Run

    run = Run.open(args.savepath)
    decoding = resolve_decoding(args, run.config.model, run.path)
    options = ServerOptions(**given_options(args, ServerOptions))
    live = LiveOptions(**given_options(args, LiveOptions))
    import_tensorflow()
    from utils.serving.app import serve

    return serve(run, decoding, options, args.batch_size, args.longest, live.endpoint_ms)


if __name__ == '__main__':
    sys.exit(run_main(main))
