"""Times training steps against the plain TensorFlow 1 form of the same model, and against PyTorch.

Our step is that of run_train.py: lengths and masks, batch norm, dropout, clipping, Adam, summaries. The plain form and
the PyTorch model have neither batch norm nor dropout. PyTorch is installed from PyPI into a separate environment.
"""

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import measuring

PACKAGES = ('torch', 'numpy')
SUMMARY_STEPS = 100
MAX_STEPS = 10_000
HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """A model and the shape of its batches; `model_fields` are those of `models.config.ModelConfig`."""

    model_fields: dict
    batch: int
    frames: int
    symbols: int


DS2 = {'model': 'ds2', 'rnn_cell': 'gru', 'conv_layers': 2, 'activation': 'tanh'}
LAS = {
    'model': 'las',
    'rnn_cell': 'lstm',
    'conv_layers': 0,
    'activation': 'tanh',
    'batch_norm': False,
    'speller_layers': 2,
}
CASES = {
    'A': Case({**DS2, 'rnn_layers': 5, 'hidden_units': 512}, 16, 600, 80),
    'B': Case({**DS2, 'rnn_layers': 2, 'hidden_units': 256}, 16, 200, 20),
    'C': Case({**LAS, 'rnn_layers': 4, 'hidden_units': 256}, 16, 600, 80),
}


def batch_of(case, features):
    """A batch as the pipeline gives it, of utterances between 85 % of the longest and all of it."""
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = np.sort(np.append(rng.integers(int(case.frames * 0.85), case.frames, case.batch - 1), case.frames))
    values = rng.normal(size=[case.batch, case.frames, features]).astype(np.float32)
    labels = rng.integers(1, 27, [case.batch, case.symbols]).astype(np.int32)
    label_lengths = np.sort(rng.integers(int(case.symbols * 0.85), case.symbols + 1, case.batch)).astype(np.int32)
    return values, lengths.astype(np.int32), labels, label_lengths, np.arange(case.batch, dtype=np.int32)


def our_step(case, arrays, log_dir, dtype='float32'):
    """One training step as the trainer takes it, its pipeline and summaries included."""
    from models.config import ModelConfig
    from utils.config import TrainConfig
    from utils.data.pipeline import Pipeline
    from utils.run_directory import RunConfig
    from utils.train.graph import TrainGraph, TrainingTask
    from utils.train.history import Summaries
    from utils.train.strategies import local_runtime
    from utils.training import training_loss

    model_config = ModelConfig(**case.model_fields)
    config = RunConfig(model_config, TrainConfig(dtype=dtype), '')
    task = TrainingTask(
        loss_fn=training_loss(config),
        make_pipeline=lambda: Pipeline(lambda rows, epoch: arrays, model_config.features),
        plan=lambda epoch: [],
        frames=arrays[1],
        name_row=str,
        validate=lambda path: {},
    )
    graph = TrainGraph(task, config.train, local_runtime())
    graph.open(None)
    graph.start([arrays[-1]] * MAX_STEPS, 0)
    summaries, count = Summaries(log_dir, True, 0), itertools.count(1)

    def run():
        result, step = graph.run_step(1e-4), next(count)
        if step % SUMMARY_STEPS == 0:
            summaries.add(step, train__loss=float(result.losses.mean()), train__gradient_norm=float(result.grad_norm))

    return run


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
    runs = {'ours': our_step(case, arrays, log_dir), 'bfloat16': our_step(case, arrays, log_dir, 'bfloat16')}
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
