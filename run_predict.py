"""Transcribes audio files with a trained model."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from utils.cli import Parser, add_options, count, number
from utils.decode.options import HOTWORD_FLAGS, LAS_FLAGS, LM_FLAGS, DecodingOptions
from utils.errors import DataError, run_main
from utils.recognition.ensemble_options import EnsembleOptions, open_team
from utils.recognition.formats import SUFFIXES, TranscriptWriter
from utils.recognition.live_options import LiveOptions, resolve_live
from utils.system import import_tensorflow

log = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='run_predict.py',
        description='Transcribe audio of any sampling rate (FLAC, WAV, OGG, MP3, ...). For one file the text is '
        'printed, for several or a directory a line FILE<tab>TEXT each. Files that cannot be read are named on '
        'stderr, the others transcribed, and the exit status is 1.',
    )
    parser.any_name = ('files', 'out', 'stream')
    parser.add_argument(
        '-s',
        '--savepath',
        required=True,
        action='append',
        metavar='RUN',
        help='run directory, or packed run; several (-s RUN -s RUN2) recognise together',
    )
    parser.add_argument('files', nargs='*', metavar='FILE', help='audio files, or directories to search for them')
    parser.add_argument('-b', '--batch_size', type=count, help='pieces recognised at once (default: 8)')
    add = parser.add_mutually_exclusive_group().add_argument
    add(
        '--format',
        choices=list(SUFFIXES),
        default='text',
        help='json: an object a line for each file: file, text, duration (seconds), confidence (0 to 1), and words '
        'with their start and end in seconds and confidence; srt, vtt: subtitles; ctm: a line for each word; '
        'textgrid: tiers of words and symbols for Praat',
    )
    add('--json', dest='format', action='store_const', const='json', default='text', help='same as --format json')
    parser.add_argument(
        '--out', metavar='DIR', help='write DIR/NAME.srt (or the suffix of the format) for each file instead of stdout'
    )
    parser.add_argument(
        '--longest',
        type=number(float, 1, 3600),
        metavar='SECONDS',
        help='cut longer recordings at silences into pieces of at most this many seconds (default: 20)',
    )
    add_options(parser, EnsembleOptions)
    add_options(parser, LiveOptions)
    add_options(parser, DecodingOptions, ('checkpoint', 'beam_width', 'lm', *LM_FLAGS, *HOTWORD_FLAGS, *LAS_FLAGS))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if (live := resolve_live(args)).stream:
        from utils.recognition.live import transcribe_live

        (run, *_), (options, *_), _ = open_team(args)
        return transcribe_live(run, options, live, args.format == 'json')
    from utils.decode.hypothesis import repeats_itself
    from utils.recognition.transcribe import find_audio, transcribe

    files, problems = find_audio(args.files)
    for problem in problems:
        print(f'error: {problem}', file=sys.stderr)
    if not files:
        return 1
    writer = TranscriptWriter(args.format, args.out, files, len(args.files) > 1 or os.path.isdir(args.files[0]))
    from utils.decode.decoder import warn_if_empty

    team = open_team(args)
    import_tensorflow()
    from utils.recognition.ensemble import load_team

    recognizer, texts = load_team(team), []
    separator = ' ' if recognizer.vocabulary.has_words else ''
    for answer in transcribe(files, recognizer, args.batch_size or 8, args.longest or 20.0):
        if isinstance(answer, DataError):
            problems.append(str(answer))
            print(f'error: {answer}', file=sys.stderr)
            continue
        texts.append(answer.text)
        if recognizer.config.family == 'attention' and repeats_itself([ord(character) for character in answer.text]):
            log.warning('%s: the text repeats itself: the attention was lost', answer.file)
        writer.write(answer, separator)
    if team.options[0].lm:
        warn_if_empty(texts)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(run_main(main))
