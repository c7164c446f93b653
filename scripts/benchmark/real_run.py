"""Compares the speed of a real run, AN4's recipe, with the same steps on batches in memory.

The real run is run_train.py as users start it: batches from disk, loaded, augmented and padded in the background,
summaries, progress bar. The other is the same graph with the same batch plan, and nothing else. They run in turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measuring

RECIPE = measuring.ROOT / 'scripts' / 'run_an4_ds2_train.sh'
EPOCHS = 2  # the first allocates and is sorted by length; the second counts


def real_epoch(run_dir):
    """Trains with the recipe; (utterances per second, share of time waiting for input) of the last epoch."""
    flags = ['-p', str(EPOCHS), '--augment_from_epoch', str(EPOCHS - 1), '--average_checkpoints', '0', '-r', 'no']
    environment = {**os.environ, 'RUN_DIR': run_dir, 'PYTHON': sys.executable}
    done = subprocess.run([RECIPE, *flags], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip().splitlines()[-1])
    last = json.loads(Path(run_dir, 'history.jsonl').read_text().splitlines()[-1])
    return last['utterances_per_sec'], last['input_wait_share']


class FromMemory:
    """The run's training steps on batches loaded beforehand."""

    def __init__(self, tf, run_dir):
        """Loads the batches of the run's last epoch."""
        from utils.data.index import read_index
        from utils.data.pipeline import Pipeline
        from utils.run_directory import Run
        from utils.train.graph import TrainGraph
        from utils.train.strategies import local_runtime
        from utils.training import training_task

        run, runtime = Run.open(run_dir), local_runtime()
        index = read_index(run.config.train.train_files)
        task = training_task(run, index, 1)
        self._plan = task.plan(EPOCHS - 1)
        with tf.Graph().as_default(), tf.Session(config=runtime.session_config) as session:
            pipeline = task.make_pipeline()
            pipeline.start(session, self._plan, EPOCHS - 1)
            arrays = {rows.tobytes(): session.run(pipeline.batch) for rows in self._plan}

        def make_pipeline():
            return Pipeline(lambda rows, epoch: arrays[rows.tobytes()], run.config.model.features)

        self._graph = TrainGraph(task._replace(make_pipeline=make_pipeline), run.config.train, runtime)
        self._graph.open(None)
        self.epoch()

    def epoch(self):
        """Runs an epoch; utterances per second."""
        self._graph.start(self._plan, EPOCHS - 1)
        begun = time.perf_counter()
        for _ in self._plan:
            self._graph.run_step(1e-4)
        return sum(map(len, self._plan)) / (time.perf_counter() - begun)


def main(argv: list[str] | None = None) -> int:
    """Prints a table; the environment variables AN4 and FEATURES are those of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--turns', type=int, default=3, help='epochs of each kind (default 3)')
    arguments = measuring.start(parser, argv)
    tf = measuring.import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        real, waits, ours, memory = [], [], [], None
        for turn in range(arguments.turns):
            run_dir = str(Path(folder) / str(turn))
            rate, wait = real_epoch(run_dir)
            memory = memory or FromMemory(tf, run_dir)
            real.append(rate)
            waits.append(wait)
            ours.append(memory.epoch())
    rate, best = statistics.median(real), statistics.median(ours)
    shown = f'{rate:.1f} utterances/s, {statistics.median(waits):.1%} waiting for input'
    row = measuring.Row('a real run, AN4', shown, 'the same batches from memory', f'{best:.1f}', f'{rate / best:.2f}')
    measuring.print_row(row)
    return 0


if __name__ == '__main__':
    sys.exit(main())
