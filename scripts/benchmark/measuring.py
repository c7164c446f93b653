"""Shared functions of the benchmarks: interleaved timing, medians, and table rows.

No machine is ever quiet: implementations that are compared run in turns, so that other load affects all of them alike.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

MIN_TURNS = 3


class Row(NamedTuple):
    """One row of the table: our figure and, if compared, the figure of another implementation."""

    what: str
    ours: str
    other: str = ''
    theirs: str = ''
    ratio: str = ''


def compare(what: str, ours: float, other: str, theirs: float) -> Row:
    """Row that compares two times in seconds."""
    return Row(what, duration(ours), other, duration(theirs), f'{theirs / ours:.2f}')


def duration(seconds: float) -> str:
    """Formats seconds as s or ms."""
    return f'{seconds:.2f} s' if seconds >= 1 else f'{1e3 * seconds:.1f} ms'


def medians(runs: dict[str, Callable[[], float | None]], seconds: float) -> dict[str, float]:
    """Median seconds of each run, all in turns for about `seconds`; a run that returns a number has timed itself."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()  # allocates, compiles, fills caches
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < MIN_TURNS:
        for name, run in runs.items():
            start = time.perf_counter()
            timed = run()
            times[name].append(time.perf_counter() - start if timed is None else timed)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> str:
    """Name and cores of the processor."""
    from utils.system import num_cores

    names = [platform.processor() or platform.machine()]
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as stream:
            names = [line.split(':', 1)[1].strip() for line in stream if line.startswith('model name')] or names
    return f'{names[0]}, {num_cores()} cores'


def make_environment(directory: Path, packages: tuple[str, ...]) -> str:
    """Installs packages from PyPI into a separate environment unless they are there; returns its Python."""
    python, stamp = directory / 'bin' / 'python', directory / 'packages.txt'
    wanted = '\n'.join(packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f'installing {" ".join(packages)} into {directory}', file=sys.stderr)
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run([python, '-m', 'pip', 'install', '-q', *packages], check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return str(python)


def import_tensorflow():
    """TensorFlow, configured as in the commands of this project."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
    from utils.system import import_tensorflow as quietly

    quietly()
    import tensorflow.compat.v1 as tf

    tf.disable_control_flow_v2()
    tf.disable_eager_execution()
    return tf


def graph_runs(tf, tensors: dict[str, list], config) -> dict[str, Callable[[], None]]:
    """Functions that each run a group of tensors of the default graph, in one session with this configuration.

    Their sums are fetched, since the inputs of a group operation alone may be pruned.
    """
    fetches = {name: [tf.reduce_sum(tensor) for tensor in group] for name, group in tensors.items()}
    session = tf.Session(config=config)
    session.run(tf.global_variables_initializer())
    return {name: lambda fetch=fetch: session.run(fetch) and None for name, fetch in fetches.items()}


HEADER = '| what | ours | compared with | takes | ratio |\n|---|---|---|---|---|'


def print_row(row: Row) -> None:
    """Prints a line of the table that `HEADER` begins."""
    print(f'| {" | ".join(row)} |', flush=True)


def start(parser, argv):
    """Parses the command line and prints the head of the table unless `--rows` is given."""
    parser.add_argument('--rows', action='store_true', help='print the rows only, without heading')
    arguments = parser.parse_args(argv)
    if not arguments.rows:
        print(f'{machine()}\n\n{HEADER}')
    return arguments
