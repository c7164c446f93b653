"""Clusters of processes on this machine: training to the end, and the loss of each kind of task."""

import json
import math
import signal

import pytest
import tensorflow.compat.v1 as tf

from tests import toy_tasks
from tests.processes import Process, free_hosts, run_train_main
from tests.toy_cluster import ToyCluster, toy_task
from utils.cluster.spec import Cluster
from utils.train.checkpoint import Checkpoints
from utils.train.loss_scale import INITIAL
from utils.train.step import StepLoss


def history(run_dir):
    return [json.loads(line) for line in (run_dir / 'history.jsonl').read_text().splitlines()]


def test_killed_workers_and_a_killed_chief_join_again_and_everyone_ends(tmp_path):
    with ToyCluster(tmp_path, num_ps=2, num_workers=3, epochs=6, step_secs=0.2) as cluster:
        tasks = [('worker', 2), ('ps', 1), ('worker', 0), ('ps', 0), ('worker', 1)]
        running = {task: cluster.start(*task) for task in tasks}
        running['worker', 0].wait_for('epoch 0 step')
        running['worker', 2].kill()
        again = cluster.start('worker', 2)
        again.wait_for('resuming at epoch')
        running['worker', 0].wait_for('epoch 1 step')
        running['worker', 0].kill()
        assert running['worker', 1].is_running and again.is_running
        chief = cluster.start('worker', 0)
        chief.wait_for('resuming at step')
        running['worker', 1].wait_for('the chief has restarted')
        ends = [chief, again, running['worker', 1], running['ps', 0], running['ps', 1]]
        assert [process.status() for process in ends] == [0] * 5
    assert [record['epoch'] for record in history(cluster.run_dir)] == list(range(6))
    newest = Checkpoints(str(cluster.run_dir)).steps()[-1]
    # four batches an epoch, and what was done between a checkpoint and a kill twice at the most
    assert newest >= 20


def half_task(cluster, *settings):
    """A task whose loss (w - row)² has a product in float16, the gradient of which overflows at first."""

    def loss_fn(batch, step, seed):
        w, rows = tf.get_variable('w', initializer=0.0), tf.cast(batch.rows, tf.float32)
        product = tf.cast(w, tf.float16) * tf.ones_like(rows, tf.float16)
        return StepLoss(tf.square(tf.cast(product, tf.float32) - rows))

    make_task = toy_tasks.make_task
    toy_tasks.make_task = lambda **options: make_task(**options)._replace(loss_fn=loss_fn)
    return toy_task(cluster, *settings)


def test_workers_of_a_parameter_server_share_the_loss_scale_of_float16(tmp_path):
    with ToyCluster(tmp_path, num_ps=1, num_workers=2, epochs=4) as cluster:
        hosts = cluster.ps_hosts, cluster.ws_hosts
        tasks = [Cluster(*hosts, *task) for task in (('ps', 0), ('worker', 0), ('worker', 1))]
        settings = str(cluster.run_dir), 4, 0.0, 60, {'dtype': 'float16'}
        processes = [cluster.run(half_task, task, *settings) for task in tasks]
        assert [process.status() for process in processes] == [0] * 3
    assert any('overflows float16 at a loss scale of 32768' in process.log for process in processes)
    checkpoints = Checkpoints(str(cluster.run_dir))
    found = tf.train.load_checkpoint(checkpoints.prefix(checkpoints.resolve('latest')))
    assert 1 < found.get_tensor('loss_scale') < INITIAL and math.log2(found.get_tensor('loss_scale')).is_integer()
    assert found.get_tensor('w') > 0


def test_a_lost_parameter_server_ends_all_others_with_a_line(tmp_path):
    with ToyCluster(tmp_path, 2, 2, epochs=500, step_secs=0.05, timeout_secs=6) as cluster:
        servers = [cluster.start('ps', i) for i in range(2)]
        workers = [cluster.start('worker', i) for i in range(2)]
        workers[1].wait_for('resuming at epoch')
        servers[1].kill()
        assert [process.status() for process in (*workers, servers[0])] == [1, 1, 1]
        for worker in workers:
            assert f'ps 1 ({cluster.ps_hosts[1]}) is lost' in worker.error
            assert 'resumes from the newest checkpoint' in worker.error
        assert 'no worker of' in servers[0].error


def test_a_lost_worker_ends_those_that_all_reduce_with_it(tmp_path):
    with ToyCluster(tmp_path, 0, 2, epochs=500, step_secs=0.05, timeout_secs=6) as cluster:
        workers = [cluster.start('worker', i) for i in (0, 1)]
        workers[1].wait_for('resuming at epoch')
        workers[1].kill()
        assert workers[0].status() == 1
        assert f'worker 1 ({cluster.ws_hosts[1]}) is lost' in workers[0].error


def test_a_stopped_worker_ends_those_that_all_reduce_with_it(tmp_path):
    with ToyCluster(tmp_path, 0, 2, epochs=500, step_secs=0.05, timeout_secs=6) as cluster:
        workers = [cluster.start('worker', i) for i in (0, 1)]
        workers[1].wait_for('resuming at epoch')
        workers[1].send(signal.SIGSTOP)  # the kernel still accepts connections for it
        assert workers[0].status(60) == 1
        assert f'worker 1 ({cluster.ws_hosts[1]}) is lost' in workers[0].error


def test_a_stopped_parameter_server_ends_its_workers(tmp_path):
    with ToyCluster(tmp_path, 1, 1, epochs=500, step_secs=0.05, timeout_secs=6) as cluster:
        server, worker = cluster.start('ps', 0), cluster.start('worker', 0)
        worker.wait_for('epoch 0 step')
        server.send(signal.SIGSTOP)
        assert worker.status(60) == 1
        assert f'ps 0 ({cluster.ps_hosts[0]}) is lost' in worker.error


def test_a_proxy_is_not_used_between_the_tasks(tmp_path):
    dead = {'http_proxy': f'http://{free_hosts(1)[0]}'}
    with ToyCluster(tmp_path, 1, 2, epochs=1, timeout_secs=20, environment=dead) as cluster:
        tasks = [cluster.start('ps', 0), cluster.start('worker', 0), cluster.start('worker', 1)]
        assert [task.status(120) for task in tasks] == [0, 0, 0]


def test_workers_that_all_reduce_end_together(tmp_path):
    with ToyCluster(tmp_path, 0, 2, epochs=2) as cluster:
        workers = [cluster.start('worker', i) for i in (1, 0)]
        assert [worker.status() for worker in workers] == [0, 0]
    assert [(record['epoch'], record['step']) for record in history(cluster.run_dir)] == [(0, 4), (1, 8)]


def test_a_host_that_does_not_answer_is_named(tmp_path):
    with ToyCluster(tmp_path, 1, 2, timeout_secs=2) as cluster:
        worker, server = cluster.start('worker', 1), cluster.start('ps', 0, ps_hosts=tuple(free_hosts(1)))
        assert worker.status() == server.status() == 1
        assert f'ps 0 ({cluster.ps_hosts[0]}) did not answer within 2 s' in worker.error
        assert 'no worker of' in server.error


def test_hosts_that_differ_are_shown_side_by_side(tmp_path):
    with ToyCluster(tmp_path, 1, 2, timeout_secs=20) as cluster:
        cluster.start('ps', 0)
        other_hosts = (*cluster.ws_hosts, *free_hosts(1))
        worker = cluster.start('worker', 1, ws_hosts=other_hosts)
        assert worker.status() == 1
        assert ','.join(other_hosts) in worker.error and ','.join(cluster.ws_hosts) + ',' in worker.error
        assert 'give all the same hosts' in worker.error


def test_a_task_at_the_address_of_another_is_named(tmp_path):
    with ToyCluster(tmp_path, 2, 1, timeout_secs=8) as cluster:
        cluster.start('ps', 1).wait_for('is ready')
        worker = cluster.start('worker', 0, ps_hosts=cluster.ps_hosts[1:])
        assert worker.status() == 1
        assert 'same hosts' in worker.error


def test_a_port_in_use_ends_the_newcomer(tmp_path):
    with ToyCluster(tmp_path, 1, 1, timeout_secs=60) as cluster:
        cluster.start('ps', 0).wait_for('is ready')
        second = cluster.start('ps', 0)
        assert second.status() == 1
        assert 'is in use on this machine' in second.error


SMALL = '-md ds2 -f 40 -cl 1 -rl 1 -n 16 -a tanh -b 2 -k 1 -lr 5e-3 -p 2'.split()


def test_the_command_trains_in_the_cluster_of_tf_config(features, tmp_path):
    import run_test

    hosts = free_hosts(3)
    jobs = {'ps': hosts[:1], 'chief': hosts[1:2], 'worker': hosts[2:]}
    flags = [*SMALL, '-t', features, '-d', features, '-s', tmp_path / 'run']
    tasks = {}
    for kind in ('worker', 'chief', 'ps'):
        environment = json.dumps({'cluster': jobs, 'task': {'type': kind, 'index': 0}})
        tasks[kind] = Process(tmp_path / f'{kind}.log', run_train_main, *flags, TF_CONFIG=environment)
    try:
        assert [task.status() for task in tasks.values()] == [0, 0, 0], '\n'.join(task.log for task in tasks.values())
    finally:
        for task in tasks.values():
            task.kill()
    assert 'effective batch: 2 utterances an update; 2 workers' in tasks['chief'].log
    best = json.loads((tmp_path / 'run/checkpoints/best.json').read_text())
    assert run_test.main(['-s', str(tmp_path / 'run'), '-t', str(features)]) == 0
    report = json.loads((tmp_path / 'run/test/train/hypotheses.json').read_text())
    assert report['scores']['wer'] == pytest.approx(best['wer'])
