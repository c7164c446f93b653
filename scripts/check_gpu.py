"""Checks the GPUs of this machine: what TensorFlow finds, cuDNN's layers against our loops, times of training steps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, number  # noqa: E402
from utils.errors import run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='check_gpu.py',
        description='Print a table on the GPUs of this machine, to paste into an issue: CUDA libraries found and '
        "missing, cuDNN's recurrent layers compared with our loops on the card, times and memory of training steps, "
        'and times of the same models in PyTorch where it is installed. Exit status 1: TensorFlow finds no GPU, or a '
        'comparison fails.',
    )
    seconds = 'seconds for the steps of each case and form, at least three steps'
    parser.add_argument('--seconds', type=number(float, 0, 3600), default=10.0, help=seconds)
    processor = 'gpu: the GPUs of this machine; cpu: times of steps on its processor, without a GPU'
    parser.add_argument('--device', choices=('gpu', 'cpu'), default='gpu', help=processor)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import_tensorflow()
    from utils.gpu.report import report

    return report(args.seconds, device=args.device)


if __name__ == '__main__':
    sys.exit(run_main(main))
