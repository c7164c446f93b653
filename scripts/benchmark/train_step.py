"""Times training steps against the plain TensorFlow 1 form of the same model, and against PyTorch.

Our step is that of run_train.py: lengths and masks, batch norm, dropout, clipping, Adam, summaries. The plain form and
the PyTorch model have neither batch norm nor dropout. PyTorch is installed from PyPI into a separate environment.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import measuring

from utils.gpu.steps import CASES, TrainingStep, batch_of

PACKAGES = ('torch', 'numpy')
HERE = Path(__file__).resolve().parent


class Peer:
    """Something else in a process of its own, which takes a step each time it is told to."""

    def __init__(self, python, script, case):
        """Starts a script of this directory; `case` has the shapes."""
        from models.config import ModelConfig
        from utils.system import num_cores

        job = {**case._asdict(), **dataclasses.asdict(ModelConfig(**case.model_fields)), 'threads': num_cores()}
        del job['model_fields']
        command = [python, str(HERE / script), json.dumps(job)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self) -> float:
        """Seconds of a step, by its own clock."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self):
        """Ends it."""
        self._process.stdin.close()
        self._process.wait()


def measure(letter, python, seconds, log_dir):
    """Prints the rows of one case."""
    case = CASES[letter]
    model, fields = case.model_fields['model'], case.model_fields
    arrays = batch_of(case, 81)
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
