"""Runs with random weights, by default of models that recognise live."""

import numpy as np
import tensorflow.compat.v1 as tf

import models
from models.config import ModelConfig
from models.layers import Phase
from utils.config import TrainConfig
from utils.data.features import FeatureSpec
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.run_directory import Run, RunConfig
from utils.train.checkpoint import Checkpoints, TrainState

SMALL = {'hidden_units': 16, 'rnn_layers': 2, 'conv_layers': 2, 'bidirectional': False, 'lookahead_frames': 3}


def write_live_run(path, mode='fbank', seed=1, model='ds2', **settings):
    """Writes a run with random weights, moving averages and statistics; its texts are varied."""
    rng = np.random.default_rng(seed)
    spec = FeatureSpec(mode, {'fbank': 40, 'log': 81, 'mfcc': 39}[mode])
    vocabulary = Vocabulary.english()
    config = ModelConfig(model, features=spec.featlen, classes=len(vocabulary) + 1, **{**SMALL, **settings})
    means, deviations = rng.normal(5, 3, spec.featlen), rng.uniform(1, 4, spec.featlen)
    statistics = FeatureStatistics(means.astype(np.float32), deviations.astype(np.float32))
    run = Run.create(str(path), RunConfig(config, TrainConfig(), str(spec)), vocabulary, statistics)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        features = tf.zeros([1, 9, spec.featlen])
        models.get(config).forward(features, tf.constant([9]), config, Phase())
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            value, name = session.run(variable), variable.op.name
            if 'moving_variance' in name:
                value = rng.uniform(0.5, 2, value.shape)
            elif 'moving_mean' in name or name.endswith('bias'):
                value = value + rng.normal(0, 0.2, value.shape)
            elif name == 'output/kernel':  # clear decisions
                value = 20 * value
            session.run(variable.assign(value.astype(np.float32)))
        session.run([v.assign_add([0.0] * 28 + [6.0]) for v in tf.global_variables() if v.op.name == 'output/bias'])
        checkpoints = Checkpoints(run.path)
        name = checkpoints.save(session, tf.train.Saver(tf.global_variables()), TrainState(step=1, epoch=1, batch=0))
        checkpoints.note_best(name, {'error': 0.5, 'dev_loss': 1.0})
    return run
