"""Clusters from flags and from TF_CONFIG, and the reachability of their hosts."""

import base64
import contextlib
import json
import logging
import os
import socket
import threading
import time

import pytest

import run_train
from utils.cluster.coordinator import ClusterCoordinator
from utils.cluster.peers import bypass_proxy, check_port_is_free, is_reachable, wait_until_reachable
from utils.cluster.spec import Cluster, find_cluster
from utils.config import parse_train_flags
from utils.errors import DataError, UsageError

REQUIRED = ['-t', 'a.json', '-d', 'c.json', '-s', 'run']
HOSTS = ['--ps_hosts', 'p:1,q:1', '--ws_hosts', 'a:1,b:1']


def parse(*extra):
    flags = parse_train_flags([*REQUIRED, *extra])
    return find_cluster(flags.run, flags.given, os.environ.get('TF_CONFIG', ''))


def tf_config(monkeypatch, cluster, kind='worker', index=0):
    monkeypatch.setenv('TF_CONFIG', json.dumps({'cluster': cluster, 'task': {'type': kind, 'index': index}}))


@pytest.fixture(autouse=True)
def no_cluster_around(monkeypatch):
    monkeypatch.delenv('TF_CONFIG', raising=False)


def test_without_hosts_a_process_trains_alone(monkeypatch):
    assert parse() is None
    monkeypatch.setenv('TF_CONFIG', '{"environment": "cloud"}')
    assert parse() is None


def test_flags_name_the_cluster_and_worker_0_is_the_chief():
    cluster = parse(*HOSTS, '--job_name', 'ps', '--task_index', '1')
    assert cluster == Cluster(('p:1', 'q:1'), ('a:1', 'b:1'), 'ps', 1)
    assert cluster.address == 'q:1' and not cluster.is_chief
    assert parse(*HOSTS).is_chief
    assert parse('--ws_hosts', 'a:1, b:1', '--task_index', '1') == Cluster((), ('a:1', 'b:1'), 'worker', 1)


def test_a_single_worker_without_parameter_servers_is_this_machine_alone():
    assert parse('--ws_hosts', 'a:1') is None


def test_the_chief_of_tf_config_is_worker_0_before_the_others(monkeypatch):
    jobs = {'chief': ['c:1'], 'worker': ['a:1', 'b:1'], 'ps': ['p:1'], 'evaluator': ['e:1']}
    for kind, index, expected in (('chief', 0, 0), ('worker', 0, 1), ('worker', 1, 2)):
        tf_config(monkeypatch, jobs, kind, index)
        assert parse() == Cluster(('p:1',), ('c:1', 'a:1', 'b:1'), 'worker', expected)
    tf_config(monkeypatch, jobs, 'ps', '0')  # some tools write the number as text
    assert (parse().job, parse().index) == ('ps', 0)


def test_flags_override_tf_config_and_the_log_tells_it(monkeypatch, caplog):
    tf_config(monkeypatch, {'worker': ['x:1', 'y:1']}, index=1)
    with caplog.at_level(logging.INFO):
        assert parse(*HOSTS).ws_hosts == ('a:1', 'b:1')
        assert parse('--task_index', '0') == Cluster((), ('x:1', 'y:1'), 'worker', 0)
    assert '--ps_hosts and --ws_hosts override it' in caplog.text and 'overridden: --task_index' in caplog.text


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"cluster": ', 'TF_CONFIG: not {"cluster"'),
        ('[1]', 'TF_CONFIG: not {"cluster"'),
        ('{"cluster": ' + '[' * 100_000, 'TF_CONFIG: not {"cluster"'),
        ('{"task": {"type": 1}}', r"TF_CONFIG: not .*\$\.task\.type': Expected 'str', got 'int'"),
        ('{"task": {"index": "x"}}', r"TF_CONFIG: not .*\$\.task\.index'"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', 'has no type'),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "evaluator"}}', "of type 'evaluator'"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', 'index 2 of worker'),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}', 'index 0 of ps'),
        ('{"cluster": {"worker": {"0": "a:1"}}, "task": {"type": "worker"}}', r"cluster\[...\]': Expected 'array"),
        ('{"cluster": {"worker": ["a:1"], "tpu": ["b:1"]}, "task": {"type": "worker"}}', 'has job tpu'),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief"}}', '2 chiefs'),
        ('{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker"}}', "'b' is not host:port"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps"}}', 'needs workers'),
    ],
)
def test_an_invalid_tf_config_is_one_clear_line(monkeypatch, text, message):
    monkeypatch.setenv('TF_CONFIG', text)
    with pytest.raises(UsageError, match=message) as error:
        parse()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--ps_hosts', 'p:1'], 'without --ws_hosts'),
        (['--ws_hosts', 'a:1,b:1', '--task_index', '2'], '--task_index 2: --ws_hosts lists 2'),
        (['--ws_hosts', 'a:1,b:1', '--job_name', 'ps'], '--job_name ps needs --ps_hosts'),
        (['--ws_hosts', 'a:1,b'], "--ws_hosts: 'b' is not host:port"),
        (['--ws_hosts', 'a:1,b:0'], "'b:0' is not host:port"),
        (['--ws_hosts', 'a:1,b:99999'], 'is not host:port'),
        (['--ws_hosts', 'a:1,'], "'' is not host:port"),
        (['--ws_hosts', 'http://a:1,b:1'], 'is not host:port'),
        (['--ws_hosts', 'a:1,a:1'], 'occurs twice'),
        (['--ps_hosts', 'a:1', '--ws_hosts', 'a:1'], 'occurs twice'),
        (['--task_index', '1'], '--task_index is for a cluster'),
        (['--cluster_timeout_secs', '5'], '--cluster_timeout_secs is for a cluster'),
    ],
)
def test_hosts_that_cannot_be_a_cluster_are_refused(extra, message):
    with pytest.raises(UsageError, match=message):
        parse(*extra)


def test_a_cluster_in_the_environment_is_for_training_only(monkeypatch, tmp_path):
    monkeypatch.setenv('TF_CONFIG', '[1]')
    arguments = ['-t', 'a.json', '-d', 'c.json', '-s', str(tmp_path)]
    with pytest.raises(UsageError, match='TF_CONFIG: not'):
        run_train.main(arguments)
    with pytest.raises(DataError, match='no config.json here'):
        run_train.main([*arguments, '-m', 'dev'])


@pytest.fixture
def listener():
    """A listening socket, and its host:port."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server, f'127.0.0.1:{server.getsockname()[1]}'


SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the first frame of an HTTP/2 server


def greet(server, frame=SETTINGS):
    """Answers every connection with a frame, as a gRPC server does, until the socket is closed."""

    def run():
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].sendall(frame)

    threading.Thread(target=run, daemon=True).start()


def test_a_port_in_use_is_named_with_its_flag(listener):
    _, host = listener
    with pytest.raises(DataError, match='is in use on this machine; .* --ws_hosts'):
        check_port_is_free(host, '--ws_hosts')
    listener[0].close()
    check_port_is_free(host, '--ws_hosts')


def test_a_host_that_greets_is_reachable_and_another_is_named_after_a_bounded_wait(listener):
    server, host = listener
    greet(server)
    assert is_reachable(host)
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert not is_reachable(host)
    start = time.monotonic()
    with pytest.raises(DataError, match='ps 3 did not answer within 0.3 s'):
        wait_until_reachable({'ps 3': host}, 0.3)
    assert time.monotonic() - start < 30
    assert not is_reachable('no-such-host.invalid:1')


@pytest.mark.parametrize('frame', [None, b'', b'HTTP/1.1 200 OK\r\n', bytes(9), SETTINGS[:4]])
def test_a_port_that_the_kernel_or_another_program_answers_is_no_sign_of_life(listener, monkeypatch, frame):
    monkeypatch.setattr('utils.cluster.peers.PROBE_SECS', 0.2)
    if frame is not None:
        greet(listener[0], frame)
    assert not is_reachable(listener[1])


def test_a_host_that_comes_late_is_waited_for(listener):
    _, host = listener
    listener[0].close()
    port = int(host.rpartition(':')[2])
    late = []

    def come():
        late.append(socket.create_server(('127.0.0.1', port)))
        greet(late[0])

    threading.Timer(0.5, come).start()
    wait_until_reachable({'ps 0': host}, 30)
    late[0].close()


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ({}, 'a,::1'),
        ({'no_proxy': 'x'}, 'x,a,::1'),
        ({'no_proxy': 'x', 'no_grpc_proxy': 'y'}, 'y,a,::1'),
    ],
)
def test_hosts_of_the_cluster_are_not_reached_through_a_proxy(monkeypatch, before, after):
    for name in ('no_proxy', 'no_grpc_proxy'):
        monkeypatch.setenv(name, '')  # undone after the test
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    bypass_proxy(['a:1', '[::1]:2'])
    assert os.environ['no_grpc_proxy'] == after  # noqa: SIM112


class Store:
    """A key-value store that holds what another task has written."""

    def __init__(self, **values):
        self.values = values

    def read(self, key):
        return self.values.get(key, '')


@pytest.mark.parametrize('name', ['../config.json', '/tmp/x', 'checkpoints/best.json', 'config.json.bak', ''])
def test_files_that_a_chief_sends_have_three_names(tmp_path, name):
    run = {'files': {name: base64.b64encode(b'a').decode()}, 'fingerprint': 'f'}
    cluster = Cluster(('p:1',), ('a:1', 'b:1'), 'worker', 1)
    coordinator = ClusterCoordinator(cluster, [Store(run=json.dumps(run))], None, 1.0)
    (tmp_path / 'run').mkdir()
    with pytest.raises(DataError, match=r'worker 0 \(a:1\), the chief, sends .*, which is no file of a run'):
        coordinator.receive(str(tmp_path / 'run'), 'f')
    assert not list((tmp_path / 'run').iterdir()) and len(list(tmp_path.iterdir())) == 1
