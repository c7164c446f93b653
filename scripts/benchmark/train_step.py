"""Times training steps against the plain TensorFlow 1 form of the same model, and against PyTorch.

Our step is that of run_train.py: lengths and masks, batch norm, dropout, clipping, Adam, summaries. The plain form and
the PyTorch model have neither batch norm nor dropout. PyTorch is installed from PyPI into a separate environment.
"""

import argparse
import os
import sys
from pathlib import Path

import measuring

from utils.gpu.peer import Peer
from utils.gpu.steps import CASES, FEATURES, TrainingStep, batch_of

PACKAGES = ('torch', 'numpy')


def measure(letter, python, seconds, log_dir):
    """Prints the rows of one case."""
    case = CASES[letter]
    model, fields = case.model_fields['model'], case.model_fields
    arrays = batch_of(case, FEATURES)
    peers = {'plain TensorFlow 1 form': Peer(sys.executable, 'plain_step.py', case)}
    if python:
        peers['PyTorch'] = Peer(python, 'torch_step.py', case)
    runs = {'ours': TrainingStep(case, arrays, log_dir), 'bfloat16': TrainingStep(case, arrays, log_dir, 'bfloat16')}
    found = measuring.medians({**runs, **{name: peer.step for name, peer in peers.items()}}, seconds)
    for peer in peers.values():
        peer.close()
    shape = f'{case.batch} × {case.frames} frames, {fields["rnn_layers"]} × {fields["hidden_units"]}'
    what = f'training step {letter}: {model}, {shape}'
    rounded = found.pop('bfloat16')
    for other in list(found)[1:]:
        measuring.print_row(measuring.compare(what, found['ours'], other, found[other]))
    measuring.print_row(
        measuring.compare('the same with `--dtype bfloat16`', rounded, 'ours in float32', found['ours'])
    )


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES), help='which to time (default: all)')
    parser.add_argument('--seconds', type=float, default=40, help='time to spend on each case (default 40)')
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'train-step-peers'
    parser.add_argument('--env', default=str(cache), metavar='DIR', help="PyTorch's environment; '' leaves PyTorch out")
    arguments = measuring.start(parser, argv)
    measuring.import_tensorflow()
    import tempfile

    python = measuring.make_environment(Path(arguments.env), PACKAGES) if arguments.env else ''
    for letter in arguments.cases:
        with tempfile.TemporaryDirectory() as log_dir:
            measure(letter, python, arguments.seconds, log_dir)
    return 0


if __name__ == '__main__':
    sys.exit(main())
