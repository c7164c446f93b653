"""Several replicas of a step against one: the same updates, whoever computes them."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from tests.toy_cluster import ToyCluster, replica_task
from tests.toy_tasks import MODEL_CONFIG, MODELS, SMALL, make_model_task, read_weights, run_steps
from utils.cluster.runtime import check_worker_towers, cluster_runtime
from utils.cluster.spec import Cluster
from utils.errors import UsageError
from utils.train.graph import TrainGraph
from utils.train.strategies import describe_batch, local_runtime, session_options, warn_if_emulated


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for variable in ours:
        np.testing.assert_allclose(ours[variable], theirs[variable], rtol=1e-4, atol=1e-6, err_msg=variable)


@pytest.mark.parametrize('name', MODELS)
def test_two_towers_train_like_one_device_with_the_double_batch(name):
    model = ModelConfig(name, **{**SMALL, **MODELS[name]})
    ours, our_results = run_steps(model, local_runtime(inter_op_threads=2, towers=2), 20)
    theirs, their_results = run_steps(model, local_runtime(inter_op_threads=2), 20)
    assert_same_weights(ours, theirs)
    for one, other in zip(our_results, their_results, strict=True):
        assert one.number == other.number
        by_row = [dict(zip(result.rows, result.losses, strict=True)) for result in (one, other)]
        assert by_row[0].keys() == by_row[1].keys()
        for row, loss in by_row[0].items():
            assert loss == pytest.approx(by_row[1][row], rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)


def test_two_towers_that_share_their_variables_train_like_one_device():
    # what a worker with two GPUs has of its parameter servers
    model = ModelConfig('ds2', **{**SMALL, **MODELS['ds2'], 'batch_norm': True})
    towers = local_runtime(inter_op_threads=2, towers=2)
    with tf.Graph().as_default():
        shared = tf.distribute.experimental.CentralStorageStrategy(['/cpu:0', '/cpu:1'], '/cpu:0')
    assert_same_weights(run_steps(model, towers._replace(strategy=shared), 5)[0], run_steps(model, towers, 5)[0])


@pytest.mark.parametrize('name', MODELS)
def test_two_processes_that_all_reduce_train_like_one_device_with_the_double_batch(name, tmp_path):
    model = ModelConfig(name, **{**SMALL, **MODELS[name]})
    with ToyCluster(tmp_path, num_ps=0, num_workers=2) as cluster:
        tasks = [Cluster((), cluster.ws_hosts, 'worker', i) for i in (1, 0)]
        workers = [cluster.run(replica_task, task, model, 20, 4, str(tmp_path / 'weights.npz')) for task in tasks]
        theirs, _ = run_steps(model, local_runtime(inter_op_threads=2), 20)
        assert [worker.status() for worker in workers] == [0, 0], workers[1].log
    with np.load(tmp_path / 'weights.npz') as arrays:
        assert_same_weights({name.replace('.', '/'): arrays[name] for name in arrays}, theirs)


def test_batch_norm_keeps_the_mean_of_the_towers_statistics():
    model = ModelConfig('ds2', **{**SMALL, **MODELS['ds2'], 'batch_norm': True})
    both, _ = run_steps(model, local_runtime(inter_op_threads=2, towers=2), 1)
    name = 'conv1/batch_norm/moving_mean'
    # towers get every other row of the step's four
    halves = [one_step(model, np.arange(4)[i::2])[name] for i in range(2)]
    np.testing.assert_allclose(both[name], np.mean(halves, 0), rtol=1e-4, atol=1e-6)
    assert np.abs(halves[0] - halves[1]).max() > 1e-3


def one_step(model, rows):
    """Weights after one step on the given rows, on one device."""
    graph = TrainGraph(make_model_task(model), MODEL_CONFIG, local_runtime(inter_op_threads=2))
    with graph.open(None) as session:
        graph.start([rows], 0)
        graph.run_step(MODEL_CONFIG.learning_rate)
        return read_weights(session)


def test_variables_are_spread_over_parameter_servers_by_size():
    cluster = Cluster(('a:1', 'b:1', 'c:1'), ('d:1',), 'worker', 0)
    runtime = cluster_runtime(cluster, session_options(), 1)
    sizes = [100, 1, 1, 60, 30, 10, 5, 5]
    with tf.Graph().as_default(), runtime.strategy.scope():
        variables = [tf.get_variable(f'v{i}', [size]) for i, size in enumerate(sizes)]
    loads = dict.fromkeys(range(3), 0)
    for variable, size in zip(variables, sizes, strict=True):
        loads[int(variable.device.partition('/task:')[2].partition('/')[0])] += size
    assert sorted(loads.values()) == [51, 61, 100]


def test_more_towers_than_a_worker_can_have_are_refused():
    with pytest.raises(UsageError, match='-g 2 in a cluster'):
        check_worker_towers(2)


def test_the_effective_batch_is_put_in_words():
    towers = local_runtime(towers=2)
    assert describe_batch(16, 0, towers) == '16 utterances × 2 replicas = 32 an update'
    assert describe_batch(16, 900, local_runtime()) == '900 frames an update'
    shared = towers._replace(num_replicas=1, num_shares=3)
    assert describe_batch(16, 0, shared).startswith('16 utterances an update; 3 workers share')


@pytest.mark.parametrize('flags, warned', [('fma avx2', True), ('fma avx2 avx512_bf16', False)])
def test_a_processor_that_emulates_bfloat16_is_told_of(tmp_path, caplog, flags, warned):
    (tmp_path / 'cpuinfo').write_text(f'model name\t: some\nflags\t\t: {flags}\n')
    warn_if_emulated('float32', tmp_path / 'cpuinfo')
    assert not caplog.records
    warn_if_emulated('bfloat16', tmp_path / 'cpuinfo')
    assert any('emulate' in record.message for record in caplog.records) == warned
