"""Exports a trained model as a SavedModel or TFLite, which needs nothing of this project."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, add_options, count  # noqa: E402
from utils.decode.options import DecodingOptions  # noqa: E402
from utils.errors import run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402

CHUNK_FRAMES = 4


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='export.py',
        description='Export a trained model to a directory that needs nothing of this project: features, normalisation '
        'and model in one graph, with the vocabulary, an example and a README. The export takes 16 kHz samples; it '
        'decodes greedily.',
    )
    parser.any_name = ('out',)
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, or packed run')
    add('out', metavar='OUT', help='directory to write: new, empty, or of an earlier export, which is replaced')
    add(
        '--format', choices=['saved_model', 'tflite'], default='saved_model',
        help='saved_model: batches of recordings to log-probabilities and text, for TensorFlow; tflite: one recording '
        'to log-probabilities, for ai-edge-litert (ds1 and ds2)',
    )  # fmt: skip
    add(
        '--quantize', choices=['none', 'int8'], default='none',
        help='tflite: type of the weights; none: float32; int8: a quarter of the size',
    )  # fmt: skip
    add('--stream', action='store_true', help='tflite: chunk by chunk with explicit state (ds2 with -ub no)')
    add(
        '--chunk_frames', type=count, metavar='N',
        help=f'--stream: output frames of a chunk, 20 ms each by default (default: {CHUNK_FRAMES})',
    )  # fmt: skip
    add_options(parser, DecodingOptions, ('checkpoint',))
    args = parser.parse_args(argv)
    if args.chunk_frames and not args.stream:
        parser.error('--chunk_frames is for --stream; give both or neither')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.export.package import ExportOptions, export
    from utils.run_directory import Run

    run = Run.open(args.savepath)
    options = ExportOptions(args.format, args.quantize, (args.chunk_frames or CHUNK_FRAMES) if args.stream else 0)
    options.check(run.config.model, run.path)
    import_tensorflow()
    size = export(run, getattr(args, 'checkpoint', DecodingOptions.checkpoint), args.out, options)
    print(f'{args.out}: {size / 1e6:.1f} MB; {Path(args.out) / "README.md"} explains how to call it')
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
