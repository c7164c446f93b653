"""Converts CMU's AN4 archive to LibriSpeech's layout; called by download_corpus.sh."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser  # noqa: E402
from utils.errors import run_main  # noqa: E402


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='convert_an4.py',
        description='Convert AN4 as CMU distributes it to LibriSpeech\'s layout: FLAC and trans.txt files in '
        'train-clean-100/ (64 speakers), dev-clean/ (the last 10 training speakers) and test-clean/ (its test set).',
    )
    parser.add_argument('source', metavar='AN4', help='directory an4/ of the unpacked archive, with etc/ and wav/')
    parser.add_argument('target', metavar='DIR', help='directory to create')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.an4 import convert

    for name, num_speakers, num_utterances, secs in convert(args.source, args.target):
        print(f'{args.target}/{name}: {num_speakers} speakers, {num_utterances} utterances, {secs / 60:.1f} minutes')
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
