"""Clusters on this machine that train the tasks of toy_tasks.py."""

import time

import numpy as np

from tests.processes import Process, free_hosts
from utils.cluster.spec import Cluster

PUBLISHED = 'the same for all'


def toy_task(cluster, run_dir, epochs, step_secs, timeout_secs, training):
    """One task: main function of its process."""
    from tests.toy_tasks import make_task, replace
    from utils.cluster.startup import join_cluster, run_parameter_server
    from utils.cluster.worker import WorkerLoop
    from utils.train.strategies import session_options
    from utils.train.trainer import Trainer

    options = session_options(inter_op_threads=2)
    if cluster.job == 'ps':
        return run_parameter_server(cluster, options, timeout_secs)
    with join_cluster(cluster, options, 1, timeout_secs) as (runtime, coordinator):
        config = replace(epochs=epochs, checkpoint_secs=0.5, **training)
        task = make_task(on_step=lambda: time.sleep(step_secs))
        if cluster.is_chief:
            coordinator.publish([], PUBLISHED)
            return Trainer(task, config, runtime, run_dir, coordinator).run()
        coordinator.receive(run_dir, PUBLISHED)
        return WorkerLoop(task, config, runtime, coordinator).run()


def replica_task(cluster, model, steps, batch, path, options=None):
    """A worker that all-reduces some steps of a model; the chief saves the weights."""
    from tests.toy_tasks import run_steps
    from utils.cluster.startup import join_cluster
    from utils.train.strategies import session_options

    with join_cluster(cluster, session_options(inter_op_threads=2), 1, 120) as (runtime, coordinator):
        weights, _ = run_steps(model, runtime, steps, batch, **(options or {}))
        if cluster.is_chief:
            np.savez(path, **{name.replace('/', '.'): value for name, value in weights.items()})
    return 0


class ToyCluster:
    """The tasks of a cluster, each a process that can be started, killed, and started again."""

    def __init__(
        self, directory, num_ps, num_workers, epochs=3, step_secs=0.0, timeout_secs=60, environment=(), training=()
    ):
        hosts = free_hosts(num_ps + num_workers)
        self.ps_hosts, self.ws_hosts = tuple(hosts[:num_ps]), tuple(hosts[num_ps:])
        self.run_dir = directory / 'run'
        self._directory = directory
        self._settings = str(self.run_dir), epochs, step_secs, timeout_secs, dict(training)
        self.processes, self._environment = [], dict(environment)

    def start(self, job, index, **hosts) -> Process:
        """Starts a task; `hosts` replaces the host lists that it is given."""
        cluster = Cluster(hosts.get('ps_hosts', self.ps_hosts), hosts.get('ws_hosts', self.ws_hosts), job, index)
        return self.run(toy_task, cluster, *self._settings)

    def run(self, main, cluster, *arguments) -> Process:
        """Starts a main function as a task."""
        name = f'{cluster.job}-{cluster.index}-{len(self.processes)}.log'
        self.processes.append(Process(self._directory / name, main, cluster, *arguments, **self._environment))
        return self.processes[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
