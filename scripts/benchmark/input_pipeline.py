"""Measures how long a training step waits for its batch, with features of realistic size on this disk."""

import argparse
import json
import os
import sys
import tempfile
import time

import measuring

NUM_UTTERANCES, FRAMES, FEATURES = 400, (300, 1500), 81


def write(folder):
    """Writes an index of utterances with random features; returns its path."""
    import numpy as np

    from utils.data.feature_file import write_features

    rng = np.random.default_rng(0)
    path = os.path.join(folder, 'train.json')
    with open(path, 'w') as stream:
        for i in range(NUM_UTTERANCES):
            frames = int(rng.integers(*FRAMES))
            write_features(os.path.join(folder, f'{i}.npz'), rng.normal(size=[frames, FEATURES]), np.ones(1, np.int32))
            entry = {'key': f'{i}.npz', 'duration': frames / 100, 'texts': 'so it is', 'frames': frames}
            stream.write(json.dumps({**entry, 'features': 'log-81-0.02-0.01'}) + '\n')
    return path


def make_step(tf, session, batch):
    """Step that runs a given number of GEMMs on every core after the batch has arrived, like a training step."""
    from utils.system import num_cores

    count = tf.placeholder(tf.int32, [])
    with tf.control_dependencies([batch.features]):
        matrices = [tf.random_uniform([1000, 1000], -0.05, 0.05, seed=i) for i in range(num_cores())]
    ends = [
        tf.while_loop(lambda i, _: i < count, lambda i, x, a=a: (i + 1, tf.tanh(tf.matmul(x, a))), [0, a])[1]
        for a in matrices
    ]
    run = session.make_callable([tf.reduce_sum(end) for end in ends], [count])
    return lambda gemms: run(gemms) and None


def epoch(session, pipeline, plan, step, gemms):
    """(seconds of an epoch, seconds of these spent waiting for batches)."""
    pipeline.start(session, plan, 0)
    waited, begun = 0.0, time.perf_counter()
    for _ in plan:
        asked = time.perf_counter()
        step(gemms)
        waited += pipeline.waited(asked)
    return time.perf_counter() - begun, waited


def gemms_of(session, pipeline, plan, step, seconds):
    """Number of GEMMs that take so many seconds while nothing is loaded."""
    few, many = 10, 110
    pipeline.start(session, plan[:8], 0)
    time.sleep(2)  # until the first batches are ready
    times = []
    for gemms in (few, few, many):
        begun = time.perf_counter()
        step(gemms)
        times.append(time.perf_counter() - begun)
    return max(1, round(seconds * (many - few) / (times[-1] - times[-2])))


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--step', type=float, default=0.25, help='seconds that a step computes (default 0.25)')
    arguments = measuring.start(parser, argv)
    tf = measuring.import_tensorflow()
    from utils.data.augment import Augmentation
    from utils.data.batching import BatchSize, plan_epoch
    from utils.data.index import read_index
    from utils.data.loader import Loader
    from utils.data.pipeline import Pipeline
    from utils.data.statistics import compute_statistics
    from utils.data.vocabulary import Vocabulary
    from utils.train.strategies import local_runtime

    with tempfile.TemporaryDirectory() as folder:
        index = read_index([write(folder)])
        statistics = compute_statistics(index, FEATURES)
        augmentation = Augmentation(time_masks=2, freq_masks=2, tempo_range=0.1)
        plan = plan_epoch(index.frames, BatchSize(16), 1, 1, True)
        for what, how in (('', None), (', augmented', augmentation)):
            loader = Loader(index, Vocabulary.english(), statistics, 2, how)
            with tf.Graph().as_default(), tf.Session(config=local_runtime().session_config) as session:
                pipeline = Pipeline(loader.batch, FEATURES)
                step = make_step(tf, session, pipeline.batch)
                gemms = gemms_of(session, pipeline, plan, step, arguments.step)
                loading, _ = epoch(session, pipeline, plan, step, 0)
                whole, waited = epoch(session, pipeline, plan, step, gemms)
            name = f'batches of 16 × 900 × {FEATURES}{what}'
            measuring.print_row(measuring.Row(f'{name}: loading one', measuring.duration(loading / len(plan))))
            steps = f'steps of {arguments.step:g} s on all cores'
            share = f'{waited / whole:.1%} waiting, {len(plan) * arguments.step / whole:.0%} of their speed alone'
            measuring.print_row(measuring.Row(f'{name}: beside {steps}', share))
    return 0


if __name__ == '__main__':
    sys.exit(main())
