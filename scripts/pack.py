"""Packs a checkpoint of a run into one file, which every command takes as -s."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser  # noqa: E402
from utils.errors import UsageError, run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402


def checkpoint_name(text: str) -> str:
    """An argparse type: best, latest, average, or the name of a checkpoint."""
    if not re.fullmatch(r'best|latest|average|(model|average)-\d{1,15}', text):
        raise argparse.ArgumentTypeError(f'{text!r} is none of best, latest, average or a name such as model-1200')
    return text


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='pack.py',
        description='Pack one checkpoint of a run with its configuration, vocabulary, feature statistics, decoding '
        'weights and a model card (README.md) into one zip file, which every command takes in place of RUN.',
    )
    parser.any_name = ('file', 'lm')
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, written by run_train.py')
    add('file', metavar='FILE', help='the file to write, such as model.zip; a packed run that is there is replaced')
    add(
        '--checkpoint', type=checkpoint_name, default='best', metavar='{best,latest,average,NAME}',
        help='weights to pack: the best on dev, the latest, the average of the last epochs, or a name in '
        'RUN/checkpoints such as model-1200',
    )  # fmt: skip
    add(
        '--dtype', choices=('float32', 'float16', 'bfloat16'), default='float32',
        help='type of the matrices in the file; the halves are expanded to float32 when they are read',
    )  # fmt: skip
    add('--lm', help='n-gram model in ARPA format to pack, plain or gzipped (default: none); use it with --lm FILE')
    add('--licence', default='', metavar='TEXT', help='licence of the model, for the card (default: not stated)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.run_directory import Run

    if os.path.isfile(args.savepath):
        raise UsageError(f'-s {args.savepath} is a file; name the run directory')
    run = Run.open(args.savepath)
    import_tensorflow()
    from utils.pack.packing import Checkpoint, check_target, pack
    from utils.recognition.recognizer import load_recognizer

    check_target(args.file, args.lm)
    if args.lm:
        from utils.lm.scorer import load_scorer

        load_scorer(args.lm, run.vocabulary.tokens, 1.0, 1.0)  # an error if it does not fit
    recognizer = load_recognizer(run, args.checkpoint)
    checkpoint = Checkpoint(args.checkpoint, recognizer.weights, recognizer.values())
    card = pack(run, checkpoint, args.file, args.dtype, args.lm, args.licence)
    size = os.path.getsize(args.file)
    print(f'{args.file}: {size / 1e6:.2f} MB, {card.checkpoint}, {args.dtype}, on dev {card.rates}')
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
