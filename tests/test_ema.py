"""Moving averages of the weights: by NumPy, in checkpoints, resumed to the bit, on towers and in clusters."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from tests.toy_cluster import ToyCluster, replica_task
from tests.toy_tasks import CONFIG, MODELS, SMALL, make_model_task, make_task, read_weights, run_steps, train_steps
from utils.cluster.spec import Cluster
from utils.train.checkpoint import Checkpoints
from utils.train.ema import averaged_in, names_in_checkpoint
from utils.train.graph import TrainGraph
from utils.train.strategies import local_runtime
from utils.train.trainer import Trainer

EMA = dataclasses.replace(CONFIG, ema=0.7)
MODEL = ModelConfig('ds2', **{**SMALL, **MODELS['ds2'], 'batch_norm': True})
BATCHES = [np.arange(i, i + 4) % 12 for i in range(9)]
# the average of the towers' or processes' weights is a little off, as the weights themselves are
CLOSE = {'rtol': 1e-4, 'atol': 1e-6}


def read(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def values_by_step(config, task, batches=BATCHES):
    """The values of all variables before the first step and after each."""
    graph = TrainGraph(task, config, local_runtime(inter_op_threads=2))
    with graph.open(None) as session:
        graph.start(batches, 0)
        found = [read_weights(session)]
        for step in range(len(batches)):
            graph.train_step(step, 0, 0.0, 1.0, False)
            found.append(read_weights(session))
        return found


def averaged(values, decay):
    """The average after the last of the values, of which the first is that before training."""
    average = np.float64(values[0])
    for number, value in enumerate(values[1:]):
        kept = min(decay, (1 + number) / (10 + number))
        average = kept * average + (1 - kept) * value
    return average


@pytest.mark.parametrize('decay', [0.2, 0.999])
def test_the_averages_are_those_of_numpy_and_leave_the_weights_as_they_are(decay):
    plain = values_by_step(CONFIG, make_task())
    ours = values_by_step(dataclasses.replace(CONFIG, ema=decay), make_task())
    for name in plain[0]:
        assert [values[name] for values in plain] == [values[name] for values in ours]
    for name in ('w', 'moving_mean'):
        expected = averaged([values[name] for values in plain], decay)
        assert ours[-1][f'{name}/ema'] == pytest.approx(expected, rel=1e-5)
        assert abs(expected - plain[-1][name]) > 1e-3


def test_a_step_without_an_update_leaves_the_averages():
    before, after = values_by_step(EMA, make_task(bad_rows=[4]), BATCHES[:2])[1:]
    assert after['global_step'] == 2
    assert {name: after[name] for name in ('w', 'w/ema')} == {name: before[name] for name in ('w', 'w/ema')}


def test_a_checkpoint_has_the_averages_under_the_names_of_the_variables(tmp_path):
    plain, ours = str(tmp_path / 'plain'), str(tmp_path / 'ours')
    train_steps(make_task(), CONFIG, BATCHES, save=plain)
    weights, _ = train_steps(make_task(), EMA, BATCHES, save=ours)
    plain, ours = read(plain), read(ours)
    assert ours.keys() == plain.keys() | {'w/trained', 'moving_mean/trained'}
    assert averaged_in(ours) == {'w', 'moving_mean'}
    for name, value in plain.items():
        trained = ours.get(f'{name}/trained', ours[name])
        assert trained == value
    assert (ours['w'], ours['moving_mean']) == (weights['w/ema'], weights['moving_mean/ema'])


def test_dev_is_scored_with_the_averages_and_their_mean_is_that_of_the_last_epochs(tmp_path):
    Trainer(make_task(), EMA, local_runtime(), str(tmp_path)).run()
    checkpoints = Checkpoints(str(tmp_path))
    epochs = [read(checkpoints.prefix(f'model-{step}')) for step in (8, 12)]
    mean = read(checkpoints.prefix('average-12'))
    assert mean.keys() == {'w', 'moving_mean'}
    assert mean['w'] == pytest.approx(np.mean([epoch['w'] for epoch in epochs]), rel=1e-6)
    assert all(epoch['w'] != epoch['w/trained'] for epoch in epochs)
    best = checkpoints.best()  # the toy's dev loss is w
    assert best['dev_loss'] == float(read(checkpoints.prefix(best['name']))['w'])


class Killed(Exception):
    pass


@pytest.mark.parametrize('after', [2, 7])
def test_a_killed_run_goes_on_to_the_same_weights_and_averages(tmp_path, after):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    Trainer(make_task(), EMA, local_runtime(), str(whole)).run()
    trainer = Trainer(make_task(), dataclasses.replace(EMA, checkpoint_secs=0.0), local_runtime(), str(killed))
    run_step, steps = trainer._graph.run_step, itertools.count(1)

    def dying(*arguments):
        if next(steps) > after:
            raise Killed
        return run_step(*arguments)

    trainer._graph.run_step = dying
    with pytest.raises(Killed):
        trainer.run()
    assert Trainer(make_task(), EMA, local_runtime(), str(killed)).run() == 0
    ours, theirs = (read(str(path / 'checkpoints' / 'model-12')) for path in (killed, whole))
    assert ours == theirs


def test_averages_begin_and_end_in_a_run_that_is_resumed(tmp_path):
    paths = [str(tmp_path / f'model-{i}') for i in range(3)]
    whole, _ = train_steps(make_task(), CONFIG, BATCHES)
    before, _ = train_steps(make_task(), CONFIG, BATCHES[:2], save=paths[0])
    begun, _ = train_steps(make_task(), EMA, [], restore=paths[0])
    assert begun['w/ema'] == begun['w'] == before['w']
    train_steps(make_task(), EMA, BATCHES[2:5], restore=paths[0], save=paths[1])
    after, _ = train_steps(make_task(), CONFIG, BATCHES[5:], restore=paths[1], save=paths[2])
    assert (after['w'], after['moving_mean']) == (whole['w'], whole['moving_mean'])
    assert not averaged_in(read(paths[2]))


def test_names_of_averages_that_a_checkpoint_lacks_are_left_out():
    with tf.Graph().as_default():
        variables = [tf.get_variable(name, [1]) for name in ('a', 'b', 'a/ema', 'b/ema', 'a/Adam')]
        names = {name: v.op.name for name, v in names_in_checkpoint(variables, {'a'}).items()}
    assert names == {'a/trained': 'a', 'a': 'a/ema', 'b': 'b', 'a/Adam': 'a/Adam'}


def test_frozen_layers_leave_their_averages():
    task = make_model_task(MODEL)._replace(frozen=('conv1',))
    config = dataclasses.replace(EMA, ema=0.5, keep_prob=1.0)
    graph = TrainGraph(task, config, local_runtime(inter_op_threads=2))
    with graph.open(None) as session:
        graph.start(BATCHES[:3], 0)
        graph.run_step(0.01)
        before = read_weights(session)
        for _ in BATCHES[1:3]:
            graph.run_step(0.01, is_frozen=True)
        after = read_weights(session)
    moved = [name for name in after if name.endswith('/ema') and (after[name] != before[name]).any()]
    assert moved and not any(name.startswith('conv1/') for name in moved)


def test_averages_on_two_towers_are_those_of_one_device(tmp_path):
    towers = local_runtime(inter_op_threads=2, towers=2)
    with tf.Graph().as_default():
        shared = tf.distribute.experimental.CentralStorageStrategy(['/cpu:0', '/cpu:1'], '/cpu:0')
    model = dataclasses.replace(MODEL, batch_norm=False)  # whose statistics are those of a tower's part
    ours, theirs, sharing = (
        run_steps(model, runtime, 5, ema=0.5)[0]
        for runtime in (towers, local_runtime(inter_op_threads=2), towers._replace(strategy=shared))
    )
    assert {name.rpartition('/')[0] for name in ours if name.endswith('/ema')} >= {'output/kernel', 'rnn1/forward/bias'}
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, **CLOSE, err_msg=name)
        np.testing.assert_allclose(sharing[name], value, **CLOSE, err_msg=name)
    # what a chief with towers saves and restores
    path, task, config = str(tmp_path / 'model-3'), make_model_task(MODEL), dataclasses.replace(EMA, keep_prob=1.0)
    saved, _ = train_steps(task, config, BATCHES[:3], towers, save=path)
    again, _ = train_steps(task, config, [], towers, restore=path)
    np.testing.assert_equal(again, saved)
    assert (read(path)['output/kernel'] == saved['output/kernel/ema']).all()


def test_averages_of_two_processes_that_all_reduce_are_those_of_one_device(tmp_path):
    path = tmp_path / 'weights.npz'
    model = dataclasses.replace(MODEL, batch_norm=False)
    with ToyCluster(tmp_path, num_ps=0, num_workers=2) as cluster:
        tasks = [Cluster((), cluster.ws_hosts, 'worker', i) for i in (1, 0)]
        workers = [cluster.run(replica_task, task, model, 6, 4, str(path), {'ema': 0.5}) for task in tasks]
        theirs, _ = run_steps(model, local_runtime(inter_op_threads=2), 6, 4, ema=0.5)
        assert [worker.status() for worker in workers] == [0, 0], workers[1].log
    with np.load(path) as arrays:
        assert 'output.kernel.ema' in arrays
        for name, value in theirs.items():
            np.testing.assert_allclose(arrays[name.replace('/', '.')], value, **CLOSE, err_msg=name)


def test_workers_of_parameter_servers_move_the_averages_of_their_updates(tmp_path):
    with ToyCluster(tmp_path, num_ps=2, num_workers=2, training={'ema': 0.5}) as cluster:
        tasks = [cluster.start(*task) for task in (('ps', 0), ('ps', 1), ('worker', 1), ('worker', 0))]
        assert [task.status() for task in tasks] == [0] * 4, tasks[-1].log
    checkpoints = Checkpoints(str(cluster.run_dir))
    saved = read(checkpoints.prefix(f'model-{checkpoints.steps()[-1]}'))
    # twelve updates of w by about the learning rate, 0.1, each; the average is one or two updates behind
    assert saved['w/trained'] > 0.9
    assert 0 < saved['w/trained'] - saved['w'] < 0.3
