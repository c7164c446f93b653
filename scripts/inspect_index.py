"""Inspects indexes before a training: amounts, suspicious utterances by name, overlap between the indexes."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, count, natural, yes_no  # noqa: E402
from utils.errors import printable, run_main  # noqa: E402

FIGURE_NAME = 'inspect.png'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='inspect_index.py',
        description='Report hours, speakers, durations and speaking rates of indexes; utterances that are spoken too '
        'fast or too slowly, occur twice, are silent, cannot fit the model or cannot be read; and sentences, speakers '
        'and recordings that two indexes share.',
    )
    parser.any_name = ('indexes', 'output')
    parser.add_argument('indexes', nargs='+', metavar='INDEX', help='indexes, such as train, dev and test')
    parser.add_argument('-o', '--output', metavar='DIR', help=f'directory for a page of figures, {FIGURE_NAME}')
    parser.add_argument(
        '-v', '--vocabfile', help='vocabulary to count symbols with (default: the characters of the transcripts)'
    )
    parser.add_argument(
        '--time_stride',
        type=count,
        default=2,
        metavar='FRAMES',
        help='input frames per output frame of the model that the transcripts must fit: 2 for ds2, 4 for the CTC head '
        'of las, for ds1 its --frame_stride',
    )
    parser.add_argument('--listed', type=natural, default=5, metavar='N', help='utterances listed of each finding')
    parser.add_argument(
        '--read_features',
        type=yes_no,
        default=True,
        metavar='{yes,no}',
        help='read all features, which finds silence, equal recordings and damaged files; no: the indexes only',
    )
    parser.add_argument(
        '--read_audio', type=yes_no, default=False, metavar='{yes,no}',
        help='read the recordings too, which finds clipping, silence and damage; as slow as preprocessing',
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.inspection import finding_lines, inspect, overlap, summary, suspicious_recordings
    from utils.data.vocabulary import Vocabulary
    from utils.plots import draw_indexes

    vocabulary = Vocabulary.read(args.vocabfile) if args.vocabfile else None
    inspections = []
    for path in dict.fromkeys(args.indexes):
        inspections.append(inspect(path, vocabulary, args.time_stride, args.read_features, args.listed))
        print(printable_lines(summary(inspections[-1])), flush=True)
        if args.read_audio:
            lines = finding_lines(suspicious_recordings(inspections[-1].index, args.listed))
            print(printable_lines(lines or ['  recordings: nothing suspicious']), flush=True)
    for one, other in itertools.combinations(inspections, 2):
        lines = finding_lines(overlap(one, other, args.listed)) or ['  nothing in both']
        print(printable_lines([f'{one.path} and {other.path}:', *lines]))
    if args.output:
        path = Path(args.output) / FIGURE_NAME
        draw_indexes(
            [Path(each.path).name for each in inspections],
            [each.index.durations for each in inspections],
            [each.symbols for each in inspections],
            [[secs / 60 for secs in each.speaker_secs.values()] for each in inspections],
            max(each.index.spec.winstep_secs for each in inspections) * args.time_stride,
            path,
        )
        print(f'figures: {printable(str(path))}')
    return 1 if any(each.num_damaged for each in inspections) else 0


def printable_lines(lines: Sequence[str]) -> str:
    return '\n'.join(map(printable, lines))


if __name__ == '__main__':
    sys.exit(run_main(main))
