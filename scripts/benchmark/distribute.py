"""Speed of towers and clusters on this machine, and network traffic per step.

    python scripts/benchmark/distribute.py [-n HIDDENS] [--steps STEPS]

Trains Deep Speech 2 on noise, each layout in processes of its own, and prints a Markdown table. With "a core each",
every worker (but not the parameter server) is pinned to one core, so that two workers have twice the cores of one.
Bytes are those of the loopback interface: run it on a quiet machine.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FRAMES, FEATURES, SYMBOLS = 400, 40, 40
WARM_UP_STEPS = 3


class Layout(NamedTuple):
    """One line of the table."""

    name: str
    towers: int = 1
    ps: int = 0
    workers: int = 0  # 0: no cluster
    pinned: bool = False


LAYOUTS = [
    Layout('one device, one core', pinned=True),
    Layout('one device, all cores'),
    Layout('two towers, all cores', towers=2),
    Layout('one parameter server, one worker on one core', ps=1, workers=1, pinned=True),
    Layout('one parameter server, two workers, a core each', ps=1, workers=2, pinned=True),
    Layout('one parameter server, two workers, all cores', ps=1, workers=2),
    Layout('all-reduce, two workers, a core each', workers=2, pinned=True),
    Layout('all-reduce, two workers, all cores', workers=2),
]


def network_bytes() -> int:
    """Bytes that the loopback interface has carried so far."""
    line = next(line for line in Path('/proc/net/dev').read_text().splitlines() if line.strip().startswith('lo:'))
    return int(line.split(':')[1].split()[0])


def make_task(options):
    """Deep Speech 2 on noise: the task, and its training settings."""
    import numpy as np

    from models.config import ModelConfig
    from utils.config import TrainConfig
    from utils.data.pipeline import Pipeline
    from utils.run_directory import RunConfig
    from utils.train.graph import TrainingTask
    from utils.training import training_loss

    model = ModelConfig(features=FEATURES, hidden_units=options.hiddens, rnn_layers=2, conv_layers=2, activation='tanh')
    config = TrainConfig(optimizer='nm', learning_rate=1e-5, keep_prob=1.0)
    rng = np.random.default_rng(0)
    features = rng.normal(size=[options.batch, FRAMES, FEATURES]).astype(np.float32)
    labels = rng.integers(0, model.classes - 1, [options.batch, SYMBOLS]).astype(np.int32)

    def load(rows, _):
        n = len(rows)
        lengths = np.full(n, FRAMES, np.int32), np.full(n, SYMBOLS, np.int32)
        return features[:n], lengths[0], labels[:n], lengths[1], np.asarray(rows, np.int32)

    loss_fn = training_loss(RunConfig(model, config, ''))
    return TrainingTask(loss_fn, lambda: Pipeline(load, FEATURES), None, None, str, None), config


def run_task(options, layout: Layout, job: str, index: int, hosts: list[str]) -> None:
    """One process of a layout; a worker prints what it measured as JSON."""
    if layout.pinned and job == 'worker':
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index]})
    from utils.system import import_tensorflow

    import_tensorflow()
    from utils.cluster.spec import Cluster
    from utils.cluster.startup import join_cluster, run_parameter_server
    from utils.train.strategies import local_runtime, session_options

    if not layout.workers:
        measure(options, local_runtime(towers=layout.towers), None)
        return
    cluster = Cluster(tuple(hosts[: layout.ps]), tuple(hosts[layout.ps :]), job, index)
    if job == 'ps':
        run_parameter_server(cluster, session_options(), 120)
        return
    with join_cluster(cluster, session_options(), 1, 120) as (runtime, coordinator):
        measure(options, runtime, coordinator)


def measure(options, runtime, coordinator) -> None:
    """Times the steps of this process."""
    import time

    import numpy as np
    import tensorflow.compat.v1 as tf

    from utils.cluster.coordinator import LEFT, WorkerProgress
    from utils.train.graph import TrainGraph

    task, config = make_task(options)
    graph = TrainGraph(task, config, runtime)
    rows = np.arange(options.batch * runtime.num_replicas)
    with graph.open(None) as session:
        if coordinator and runtime.is_chief:
            coordinator.begin([], (0, 0))
        elif coordinator:
            coordinator.await_chief_state(bool, 'to initialise the variables')
        graph.start([rows] * (WARM_UP_STEPS + options.steps), 0)
        for _ in range(WARM_UP_STEPS):
            graph.run_step(config.learning_rate)
        start, sent = time.monotonic(), network_bytes()
        utterances = sum(len(graph.run_step(config.learning_rate).losses) for _ in range(options.steps))
        seconds, sent = time.monotonic() - start, network_bytes() - sent
        with session.graph.as_default():
            size = sum(variable.shape.num_elements() * 4 for variable in tf.trainable_variables())
    found = {'steps': options.steps, 'utterances': utterances, 'seconds': seconds, 'sent': sent, 'size': size}
    print(json.dumps(found), flush=True)
    if coordinator and runtime.is_chief:
        coordinator.finish()
    elif coordinator:
        state = coordinator.await_chief_state(lambda state: state.finished, 'to end')
        coordinator.report(WorkerProgress(state.generation, 0, 0, LEFT))


def run_layout(options, layout: Layout) -> str:
    """Runs the processes of a layout; its line of the table."""
    jobs = [('ps', i) for i in range(layout.ps)] + [('worker', i) for i in range(max(layout.workers, 1))]
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in jobs]
    hosts = [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]
    for each in sockets:
        each.close()
    common = [sys.executable, __file__, '-n', options.hiddens, '-b', options.batch, '--steps', options.steps]
    processes = []
    for job, index in jobs:
        task = json.dumps([layout, job, index, hosts])
        line = [*map(str, common), '--task', task]
        processes.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, **QUIET}))
    outputs = [process.communicate()[0] for process in processes]
    found = [json.loads(output) for (job, _), output in zip(jobs, outputs, strict=True) if job == 'worker']
    # workers that all-reduce make each update together
    updates = sum(each['steps'] / each['seconds'] for each in (found if layout.ps else found[:1]))
    utterances = sum(each['utterances'] / each['seconds'] for each in found)
    size = found[0]['size'] / 1e6
    sent = found[0]['sent'] / found[0]['seconds'] / updates / 1e6
    moved = f'{sent:.1f} MB, {sent / size:.1f} times' if layout.workers else '-'
    return f'| {layout.name} | {updates:.2f} | {utterances:.1f} | {moved} |'


QUIET = {'TF_CPP_MIN_LOG_LEVEL': '3', 'TF_ENABLE_ONEDNN_OPTS': '1'}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-n', '--hiddens', type=int, default=256, help='units of a recurrent layer')
    parser.add_argument('-b', '--batch', type=int, default=8, help='utterances a step, a replica')
    parser.add_argument('--steps', type=int, default=10, help='steps that are timed')
    parser.add_argument('--task', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        layout, job, index, hosts = json.loads(options.task)
        run_task(options, Layout(*layout), job, index, hosts)
        return 0
    print("| | updates/s | utterances/s | over the network, a step, of the model's size |\n|---|---|---|---|")
    for layout in LAYOUTS:
        print(run_layout(options, layout), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
