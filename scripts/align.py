"""Aligns recordings with their known transcripts: times of words and symbols, and utterances to train on."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, add_options, count, number  # noqa: E402
from utils.decode.options import DecodingOptions  # noqa: E402
from utils.errors import UsageError, run_main  # noqa: E402
from utils.recognition.formats import TranscriptWriter  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='align.py',
        description='Forced alignment by CTC of an index with its transcripts, the utterances whose transcripts fit '
        'worst first, or of a recording of any length with its whole text.',
    )
    parser.any_name = ('inputs', 'out', 'cut')
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, or packed run')
    add('inputs', nargs='+', metavar='INPUT', help='an index, or a recording and a UTF-8 file with its transcript')
    add('-b', '--batch_size', type=count, default=8, help='utterances of an index that are recognised at once')
    add(
        '--format', choices=['ctm', 'textgrid', 'json'], default='ctm',
        help='ctm: a line for each word; textgrid: tiers of words and symbols for Praat; json: an object a line with '
        'both, and the score',
    )  # fmt: skip
    add('--out', metavar='DIR', help='write DIR/NAME.ctm, or the suffix of the format, for each utterance')
    add('--cut', metavar='DIR', help='cut the recording at pauses: DIR/NAME-0001.flac ..., and DIR/NAME.jsonl')
    add(
        '--longest', type=number(float, 1, 3600), default=15.0, metavar='SECONDS',
        help='longest utterance of --cut, seconds',
    )  # fmt: skip
    add_options(parser, DecodingOptions, ('checkpoint',))
    args = parser.parse_args(argv)
    if len(args.inputs) > 2:
        parser.error(f'{len(args.inputs)} inputs; give an index, or a recording and its transcript')
    if args.cut and len(args.inputs) == 1:
        parser.error('--cut: an index has no recording; give a recording and its transcript')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.recognition import alignment
    from utils.run_directory import Run

    run = Run.open(args.savepath)
    alignment.check_has_ctc(run.path, run.config.model)
    is_index, keeper = len(args.inputs) == 1, alignment.PosteriorKeeper()
    index = read_index(args.inputs) if is_index else None
    text = '' if is_index else alignment.read_text(args.inputs[1], run.vocabulary)
    names = index.keys if index else args.inputs[:1]
    if not args.out and args.format == 'textgrid' and len(names) > 1:
        raise UsageError(f'--format textgrid: {len(names)} utterances do not fit one TextGrid; give --out DIR')
    writer = TranscriptWriter(args.format, args.out, names)
    if args.cut:
        os.makedirs(args.cut, exist_ok=True)
    import_tensorflow()
    from utils.recognition.recognizer import load_recognizer

    recognizer = load_recognizer(run, getattr(args, 'checkpoint', DecodingOptions.checkpoint), keeper)
    if index:
        found = alignment.align_index(index, recognizer, keeper, args.batch_size)
    else:
        found = [alignment.align_recording(args.inputs[0], text, recognizer, keeper)]
    alignment.report_worst(found)
    separator = ' ' if run.vocabulary.has_words else ''
    for each in found:
        writer.write(each, separator)
    if args.cut:
        from utils.recognition.cutting import write_cuts

        write_cuts(args.inputs[0], found[0], args.cut, args.longest, separator)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
