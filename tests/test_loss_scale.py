"""Dynamic loss scaling: exact, skips overflows, resumes to the bit, the same on towers and in clusters."""

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from tests.toy_cluster import ToyCluster, replica_task
from tests.toy_tasks import CONFIG, MODEL_CONFIG, MODELS, SMALL, make_model_task, make_task, run_steps, train_steps
from utils.cluster.spec import Cluster
from utils.train import loss_scale
from utils.train.graph import TrainGraph
from utils.train.step import StepLoss
from utils.train.strategies import local_runtime

FLOAT16 = dataclasses.replace(CONFIG, dtype='float16')
MODEL = ModelConfig('ds2', **{**SMALL, **MODELS['ds2'], 'batch_norm': True})
LARGEST = float(np.finfo(np.float16).max)
BATCHES = [np.arange(i, i + 4) % 12 for i in range(9)]


def half_loss(batch, step, seed):
    """(w - row)² by a product in float16, whose gradient is at first -2 · row · scale."""
    w = tf.get_variable('w', initializer=0.0)
    rows = tf.cast(batch.rows, tf.float32)
    return StepLoss(tf.square(tf.cast(tf.cast(w, tf.float16) * tf.ones_like(rows, tf.float16), tf.float32) - rows))


def steps(task, config, batches=BATCHES, towers=1, **paths):
    return train_steps(task, config, batches, local_runtime(inter_op_threads=2, towers=towers), **paths)


def half_task():
    return make_task()._replace(loss_fn=half_loss)


def reference(batches):
    """The scale before each step and w after the last, plain SGD in NumPy."""
    scale, w, scales = loss_scale.INITIAL, 0.0, []
    for rows in batches:
        scales.append(scale)
        outward = 2 * (np.float32(w) - rows) * scale  # the gradient by the product, cast to float16 on its way back
        if np.abs(outward).max() > LARGEST or np.abs(outward.sum()) > LARGEST:
            scale /= 2
        else:
            w -= 0.1 * float(outward.sum()) / scale / len(rows)
    return scales, w


def test_scaling_by_powers_of_two_is_exact():
    task = make_task()  # all of it in float32
    scaled, results = steps(task, FLOAT16)
    plain, _ = steps(task, CONFIG)
    assert {result.loss_scale for result in results} == {loss_scale.INITIAL}
    for name, value in plain.items():
        np.testing.assert_array_equal(scaled[name], value)
    assert scaled.keys() - plain.keys() == {'loss_scale', 'loss_scale_good_steps'}


def test_an_overflow_skips_the_step_and_halves_the_scale(caplog):
    caplog.set_level('INFO')
    config = dataclasses.replace(FLOAT16, optimizer='sgd', max_bad_steps=1)
    weights, results = steps(half_task(), config)
    scales, w = reference(BATCHES)
    assert [result.loss_scale for result in results] == scales
    assert len(set(scales)) > 2
    assert [result.is_finite for result in results[:-1]] == (np.diff(scales) == 0).tolist()
    assert weights['w'] == pytest.approx(w, rel=5e-3)  # float16 keeps 11 bits
    assert f'overflows float16 at a loss scale of {scales[0]:g}; no update' in caplog.text
    first, _ = steps(half_task(), config, BATCHES[:1])
    assert first['w'] == 0


def test_the_scale_doubles_after_steps_without_an_overflow(monkeypatch):
    monkeypatch.setattr(loss_scale, 'GROWTH_STEPS', 3)
    _, results = steps(make_task(), FLOAT16)
    assert [result.loss_scale / loss_scale.INITIAL for result in results] == [1, 1, 1, 2, 2, 2, 4, 4, 4]


def test_a_loss_that_is_not_finite_leaves_the_scale_and_is_a_bad_step(caplog):
    _, results = steps(make_task(bad_rows=[1]), FLOAT16, BATCHES[:3])
    assert [result.is_finite for result in results] == [False, False, True]
    assert {result.loss_scale for result in results} == {loss_scale.INITIAL}
    assert 'the loss is not finite' in caplog.text


def test_a_resumed_run_has_the_scale_and_the_weights_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, 'GROWTH_STEPS', 4)
    whole, _ = steps(half_task(), FLOAT16)
    path = str(tmp_path / 'model-5')
    steps(half_task(), FLOAT16, BATCHES[:5], save=path)
    resumed, _ = steps(half_task(), FLOAT16, BATCHES[5:], restore=path)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


def test_a_run_in_float32_goes_on_in_float16_and_back(tmp_path):
    paths = [str(tmp_path / f'model-{i}') for i in range(2)]
    before, _ = steps(make_task(), CONFIG, BATCHES[:2], save=paths[0])
    after, (first, *_) = steps(make_task(), FLOAT16, BATCHES[2:4], restore=paths[0], save=paths[1])
    assert first.loss_scale == loss_scale.INITIAL and first.number == 2
    whole, _ = steps(make_task(), CONFIG, BATCHES[:4])
    assert after['w'] == whole['w'] != before['w']
    steps(make_task(), CONFIG, BATCHES[4:5], restore=paths[1])


def test_two_towers_share_one_scale():
    config = dataclasses.replace(FLOAT16, optimizer='sgd')
    ours, our_results = steps(half_task(), config, towers=2)
    theirs, their_results = steps(half_task(), config)
    assert [r.loss_scale for r in our_results][:3] == [r.loss_scale for r in their_results][:3]
    assert ours['loss_scale'] < loss_scale.INITIAL
    assert ours['w'] == pytest.approx(theirs['w'], rel=0.3)  # the halves of a batch may overflow later than the whole


def test_two_processes_that_all_reduce_share_one_scale(tmp_path):
    path = tmp_path / 'weights.npz'
    with ToyCluster(tmp_path, num_ps=0, num_workers=2) as cluster:
        tasks = [Cluster((), cluster.ws_hosts, 'worker', i) for i in (1, 0)]
        workers = [cluster.run(replica_task, task, MODEL, 6, 4, str(path), {'dtype': 'float16'}) for task in tasks]
        towers, results = run_steps(MODEL, local_runtime(inter_op_threads=2, towers=2), 6, 4, dtype='float16')
        assert [worker.status() for worker in workers] == [0, 0], workers[1].log
    assert results[0].loss_scale == loss_scale.INITIAL > results[-1].loss_scale  # the first steps overflow
    with np.load(path) as arrays:
        for name, value in towers.items():
            np.testing.assert_allclose(arrays[name.replace('/', '.')], value, rtol=2e-2, atol=1e-3, err_msg=name)
        assert arrays['loss_scale'] == towers['loss_scale']


def test_a_model_in_float16_is_near_the_one_in_float32(monkeypatch):
    monkeypatch.setattr(loss_scale, 'INITIAL', 16.0)  # no overflow
    runtime = local_runtime(inter_op_threads=2)
    (exact, _), (near, results) = (run_steps(MODEL, runtime, 2, dtype=dtype) for dtype in ('float32', 'float16'))
    assert all(result.is_finite for result in results)
    for name, value in exact.items():
        assert np.linalg.norm(near[name] - value) <= 0.03 * np.linalg.norm(value) + 1e-3, name
    assert any((near[name] != exact[name]).any() for name in exact)


def test_float16_reaches_the_convolutions():
    config = dataclasses.replace(MODEL_CONFIG, dtype='float16')
    ops = TrainGraph(make_model_task(MODEL, config), config, local_runtime())._graph.get_operations()
    assert {op.inputs[0].dtype for op in ops if op.type == 'Conv2D'} == {tf.float16}
    assert tf.float16 in {op.inputs[0].dtype for op in ops if op.type == 'MatMul'}
