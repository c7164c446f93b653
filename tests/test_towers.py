"""Several replicas of a step against one: the same updates, whoever computes them."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from run_train import training_loss
from utils.config import ModelConfig, RunConfig, TrainConfig
from utils.data.loading import pad
from utils.data.pipeline import Pipeline
from utils.train.graph import Task, TrainGraph
from utils.train.strategies import local_runtime

FEATURES = 13
SMALL = {'features': FEATURES, 'classes': 5, 'hidden_units': 6, 'rnn_layers': 1, 'batch_norm': False}
MODELS = {'ds2': {'conv_layers': 1, 'activation': 'tanh'}}
CONFIG = TrainConfig(optimizer='nm', momentum=0.9, learning_rate=0.01, grad_clip=1.0, keep_prob=1.0)
NUM_ROWS = 12


def load(rows, epoch):
    """Utterances that follow from their number alone: noise of 16 to 27 frames, one to three symbols."""
    rngs = [np.random.default_rng(row) for row in rows]
    features = [rng.normal(size=[16 + row, FEATURES]) for row, rng in zip(rows, rngs, strict=True)]
    labels = [rng.integers(0, 4, size=1 + row % 3) for row, rng in zip(rows, rngs, strict=True)]
    return *pad(features, np.float32), *pad(labels, np.int32), np.asarray(rows, np.int32)


def make_task(model):
    return Task(
        loss_fn=training_loss(RunConfig(model, CONFIG, '')),
        make_pipeline=lambda: Pipeline(load, FEATURES),
        plan=lambda epoch: [np.arange(NUM_ROWS)],
        frames=np.arange(16, 16 + NUM_ROWS),
        name_row=str,
        validate=lambda path: {},
    )


def train(model, towers, steps, batch=4):
    """Weights after some steps, and the losses of each."""
    graph = TrainGraph(make_task(model), CONFIG, local_runtime(inter_op_threads=2, towers=towers))
    batches = [np.arange(step * batch, (step + 1) * batch) % NUM_ROWS for step in range(steps)]
    with graph.open(None) as session:
        graph.start(batches, 0)
        results = [graph.run_step(CONFIG.learning_rate) for _ in batches]
        with session.graph.as_default():
            names = [variable.op.name for variable in tf.global_variables()]
            values = session.run(names_to_tensors(session.graph, names))
    return dict(zip(names, values, strict=True)), results


def names_to_tensors(graph, names):
    return [graph.get_operation_by_name(f'{name}/Read/ReadVariableOp').outputs[0] for name in names]


@pytest.mark.parametrize('name', MODELS)
def test_two_towers_train_like_one_device_with_the_double_batch(name):
    model = ModelConfig(name, **{**SMALL, **MODELS[name]})
    ours, our_results = train(model, towers=2, steps=20)
    theirs, their_results = train(model, towers=1, steps=20)
    assert ours.keys() == theirs.keys()
    for variable in ours:
        np.testing.assert_allclose(ours[variable], theirs[variable], rtol=1e-4, atol=1e-6, err_msg=variable)
    for one, other in zip(our_results, their_results, strict=True):
        assert one.number == other.number
        by_row = [dict(zip(result.rows, result.losses, strict=True)) for result in (one, other)]
        assert by_row[0].keys() == by_row[1].keys()
        for row, loss in by_row[0].items():
            assert loss == pytest.approx(by_row[1][row], rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
