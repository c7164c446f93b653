"""Measures what a training step waits for its batch, with features of the size of real ones on this disk."""

import argparse
import json
import os
import sys
import tempfile
import time

import measuring

NUM_UTTERANCES, FRAMES, FEATURES = 400, (300, 1500), 81


def write(folder):
    """An index of utterances with random features; returns its path."""
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


def epoch(session, pipeline, plan, step_secs):
    """Seconds of an epoch's steps, and of these, waiting; a step that computes for `step_secs` on all cores but one."""
    pipeline.start(session, plan, 0)
    waited, begun = 0.0, time.perf_counter()
    for _ in plan:
        waited += float(session.run([pipeline.batch.features, pipeline.wait_secs])[1])
        time.sleep(step_secs)
    return time.perf_counter() - begun, waited


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--step', type=float, default=0.25, help='seconds that a step computes (default 0.25)')
    arguments = measuring.start(parser, argv)
    tf = measuring.import_tensorflow()
    from utils.data.augment import Augmentation
    from utils.data.batching import BatchSize, plan_epoch
    from utils.data.index import read_index
    from utils.data.loading import Loader, compute_statistics
    from utils.data.pipeline import Pipeline
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
                loading, _ = epoch(session, pipeline, plan, 0)
                whole, waited = epoch(session, pipeline, plan, arguments.step)
            name = f'batches of 16 × 900 × {FEATURES}{what}'
            measuring.print_row(measuring.Row(f'{name}: loading one', measuring.duration(loading / len(plan))))
            share = f'{waited / whole:.1%} of the time'
            measuring.print_row(measuring.Row(f'{name}: waiting beside steps of {arguments.step:g} s', share))
    return 0


if __name__ == '__main__':
    sys.exit(main())
