"""Tasks small enough to train in a test: one variable that has nothing to do with speech, and tiny acoustic models."""

import dataclasses
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from utils.config import TrainConfig
from utils.data.batching import BatchSize, plan_epoch
from utils.data.loader import pad
from utils.data.pipeline import Pipeline
from utils.run_directory import RunConfig
from utils.train.graph import TrainGraph, TrainingTask
from utils.train.step import StepLoss
from utils.train.strategies import local_runtime
from utils.training import training_loss

NUM_ROWS = 12
CONFIG = TrainConfig(
    optimizer='adam',
    learning_rate=0.1,
    epochs=3,
    grad_clip=-1,
    summary_steps=1,
    average_checkpoints=2,
    keep_checkpoints=2,
)

FEATURES = 13
SMALL = {'features': FEATURES, 'classes': 5, 'hidden_units': 6, 'rnn_layers': 1, 'batch_norm': False}
MODELS = {
    'ds2': {'conv_layers': 1, 'activation': 'tanh'},
    'las': {'rnn_layers': 3, 'rnn_cell': 'lstm', 'conv_layers': 0, 'activation': 'tanh'},
}
MODEL_CONFIG = TrainConfig(
    optimizer='nm', momentum=0.9, learning_rate=0.01, grad_clip=1.0, keep_prob=1.0, sample_prob=0.0
)


def replace(**options):
    """CONFIG with some options changed."""
    return dataclasses.replace(CONFIG, **options)


class Numbers:
    """A pipeline whose batches are the row numbers themselves."""

    def __init__(self):
        self.rows = tf.placeholder_with_default(np.zeros(1, 'i'), [None])
        dataset = tf.data.Dataset.from_generator(lambda: iter(self.todo), tf.int32, [None])
        self.iterator = tf.data.make_initializable_iterator(dataset)
        self.batch = type('Rows', (), {'rows': self.iterator.get_next()})

    def start(self, session, batches, epoch):
        self.todo = [np.asarray(rows, np.int32) for rows in batches]
        session.run(self.iterator.initializer)

    def waited(self, since):
        return 0.0

    def explain(self, error):
        return error


def make_task(seen=None, bad_rows=(), errors=(), on_step=lambda: None, bad_epochs=(), dev=''):
    """Fits w and a shift to the mean of the rows; utterance i is the number i, its loss (w - i)².

    Args:
      seen: list that the rows of each batch are appended to.
      bad_rows: rows whose loss is infinite.
      errors: dev errors of the validations, in order; then 0.5.
      on_step: called at each step.
      bad_epochs: numbers of epochs in which every loss is infinite.
      dev: fingerprint of the dev set.
    """
    errors = itertools.chain(errors, itertools.repeat(0.5))

    def loss_fn(batch, step, seed):
        w = tf.get_variable('w', initializer=0.0)
        moving = tf.get_variable('moving_mean', initializer=0.0, trainable=False)
        values = tf.cast(batch.rows, tf.float32)
        bad = tf.reduce_any(tf.equal(batch.rows[:, None], tf.constant(list(bad_rows) or [-1])[None]), 1)
        bad |= tf.reduce_any(tf.equal(step // 4, tf.constant(list(bad_epochs) or [-1])))
        noise = 0.01 * tf.random.stateless_normal([], seed)  # stands for dropout
        losses = tf.square(w + noise - values) + tf.where(bad, np.inf * tf.ones_like(values), tf.zeros_like(values))
        losses = losses * (1 + 0 * tf.py_func(note, [batch.rows], tf.float32))
        return StepLoss(losses, [(moving, moving * 0.9 + 0.1 * tf.reduce_mean(losses))])

    def note(rows):
        if seen is not None:
            seen.append(rows.tolist())
        on_step()
        return np.float32(0)

    def validate(path):
        w = float(tf.train.load_checkpoint(path).get_tensor('w'))
        return {'error': next(errors), 'dev_loss': w, 'wer': 0.5, 'cer': 0.25}

    def plan(epoch):
        return plan_epoch(np.arange(1, NUM_ROWS + 1), BatchSize(3), 1, epoch, True)

    return TrainingTask(loss_fn, Numbers, plan, np.arange(1, NUM_ROWS + 1), lambda row: f'row {row}', validate, dev=dev)


def load(rows, epoch):
    """Utterances that follow from their number alone: noise of 16 to 27 frames, one to three symbols."""
    rngs = [np.random.default_rng(row) for row in rows]
    features = [rng.normal(size=[16 + row, FEATURES]) for row, rng in zip(rows, rngs, strict=True)]
    labels = [rng.integers(0, 4, size=1 + row % 3) for row, rng in zip(rows, rngs, strict=True)]
    return *pad(features, np.float32), *pad(labels, np.int32), np.asarray(rows, np.int32)


def make_model_task(model, config=MODEL_CONFIG):
    """Training of a model on the utterances of `load`."""
    return TrainingTask(
        loss_fn=training_loss(RunConfig(model, config, '')),
        make_pipeline=lambda: Pipeline(load, FEATURES),
        plan=lambda epoch: [np.arange(NUM_ROWS)],
        frames=np.arange(16, 16 + NUM_ROWS),
        name_row=str,
        validate=lambda path: {},
    )


def run_steps(model, runtime, steps, batch=4, **options):
    """Weights after some steps of `batch` utterances over all replicas, and the result of each step."""
    config = dataclasses.replace(MODEL_CONFIG, **options)
    graph = TrainGraph(make_model_task(model, config), config, runtime)
    batches = [np.arange(step * batch, (step + 1) * batch) % NUM_ROWS for step in range(steps)]
    with graph.open(None) as session:
        graph.start(batches, 0)
        results = [graph.run_step(MODEL_CONFIG.learning_rate) for _ in batches]
        return read_weights(session), results


def train_steps(task, config, batches, runtime=None, restore=None, save=None):
    """Weights, and the result of each step, of a run that begins new or from a checkpoint."""
    graph = TrainGraph(task, config, runtime or local_runtime(inter_op_threads=2))
    with graph.open(restore) as session:
        graph.start(batches, 0)
        results = [graph.train_step(i, 0, 0.0, 1.0, False) for i in range(len(batches))]
        if save:
            graph.saver.save(session, save)
        return read_weights(session), results


def read_weights(session):
    """{variable name: value} of all global variables."""
    with session.graph.as_default():
        names = [variable.op.name for variable in tf.global_variables()]
    reads = [session.graph.get_operation_by_name(f'{name}/Read/ReadVariableOp').outputs[0] for name in names]
    return dict(zip(names, session.run(reads), strict=True))
