"""Options of live recognition. Neither numpy nor TensorFlow is imported, so that a command answers ``-h`` at once."""

import argparse
from dataclasses import dataclass
from functools import partial

from models.config import option
from utils.cli import given_options
from utils.errors import UsageError

_live = partial(option, group='live recognition')


@dataclass(frozen=True)
class LiveOptions:
    """Options of `streaming.StreamingRecognizer` and of the audio that it gets."""

    stream: str = _live(
        '', metavar='FILE',
        help='transcribe raw 16-bit samples (mono, little-endian) or a WAV as they come, from a '
        'file or from standard input (-): a line on stdout for each utterance as soon as it ends, and the text so far '
        'on a line of the terminal; Ctrl-C ends it. For a ds2 of one direction (-ub no)',
    )  # fmt: skip
    stream_rate: int = _live(16000, low=1000, high=768_000, help='samples a second of raw audio (--stream)')
    endpoint_ms: int = _live(
        1000, low=0, high=60_000, help='silence that ends an utterance, milliseconds; 0: only the end of the audio does'
    )


def resolve_live(args: argparse.Namespace) -> LiveOptions:
    """Returns the options that a command line asks for.

    Raises:
      UsageError: flags of transcribing files beside --stream, or the other way round.
    """
    given = given_options(args, LiveOptions)
    if given.get('stream'):
        flags = {'FILE': args.files, '-b': args.batch_size, '--longest': args.longest, '--out': args.out}
        for flag, value in flags.items():
            if value:
                raise UsageError(f'{flag} is for whole files, --stream for live audio; leave one of them out')
        if len(args.savepath) > 1:
            raise UsageError(f'-s names {len(args.savepath)} runs, --stream takes one; leave the others out')
        if args.format not in ('text', 'json'):
            raise UsageError(f'--format {args.format} is for whole files; --stream prints text or json')
    elif given:
        raise UsageError(f'--{min(given)} is for live audio; name it with --stream, or leave it out')
    elif not args.files:
        raise UsageError('no audio; name files or directories, or live audio with --stream')
    return LiveOptions(**given)
