"""The tasks of a training cluster, as the flags or TF_CONFIG describe them."""

import dataclasses
import logging
from collections.abc import Container
from typing import Annotated

import msgspec

from utils.errors import DataError, UsageError
from utils.files import decode_json

log = logging.getLogger(__name__)

FLAGS = {'ps': '--ps_hosts', 'worker': '--ws_hosts'}  # by job
TASK_FIELDS = {'job_name': 'job', 'task_index': 'index'}  # from flags to attributes of Cluster


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a training run, and the task of this process.

    With parameter servers the workers update asynchronously; without, they all-reduce. Worker 0 is the chief.

    Attributes:
      ps_hosts, ws_hosts: host:port of each parameter server and each worker.
      job: job of this process, ps or worker.
      index: index of this process within its job.
    """

    ps_hosts: tuple[str, ...]
    ws_hosts: tuple[str, ...]
    job: str
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process initialises, validates, saves and writes the run directory."""
        return self.job == 'worker' and self.index == 0

    @property
    def address(self) -> str:
        """host:port of this process."""
        return self.hosts(self.job)[self.index]

    def hosts(self, job: str) -> tuple[str, ...]:
        """Returns host:port of each task of a job."""
        return self.ps_hosts if job == 'ps' else self.ws_hosts

    @property
    def jobs(self) -> dict[str, list[str]]:
        """host:port of each task, by job; jobs without tasks are left out."""
        return {job: list(self.hosts(job)) for job in FLAGS if self.hosts(job)}

    def describe(self, job: str, index: int) -> str:
        """Returns the name of a task in messages: ``ps 0 (node1:2222)``."""
        return f'{job} {index} ({self.hosts(job)[index]})'

    @property
    def layout(self) -> str:
        """All hosts as text, to compare those of two tasks."""
        return ' '.join(f'{FLAGS[job]} {",".join(self.hosts(job)) or "(none)"}' for job in FLAGS)


def find_cluster(values, given: Container[str], tf_config: str) -> Cluster | None:
    """Returns the cluster that this process belongs to; None if it trains alone.

    Args:
      values: parsed flags, with ps_hosts, ws_hosts, job_name and task_index.
      given: names of the flags that the command line sets.
      tf_config: value of the environment variable TF_CONFIG. Flags override it, which is logged.

    Raises:
      UsageError: malformed or missing hosts, or an index out of range.
    """
    named = _parse_tf_config(tf_config) if tf_config.strip() else None
    if 'ps_hosts' in given or 'ws_hosts' in given:
        if named:
            log.info('TF_CONFIG defines a cluster too; --ps_hosts and --ws_hosts override it')
        cluster = Cluster(_split(values.ps_hosts), _split(values.ws_hosts), values.job_name, values.task_index)
    elif named:
        fields = {name: field for name, field in TASK_FIELDS.items() if name in given}
        cluster = dataclasses.replace(named, **{field: getattr(values, name) for name, field in fields.items()})
        if fields:
            log.info('TF_CONFIG defines a task too; overridden: %s', ' and '.join(f'--{name}' for name in fields))
    elif alone := [name for name in (*TASK_FIELDS, 'cluster_timeout_secs') if name in given]:
        raise UsageError(f'--{alone[0]} is for a cluster; give --ws_hosts too, or leave it out')
    else:
        return None
    _check(cluster)
    return cluster if cluster.ps_hosts or len(cluster.ws_hosts) > 1 else None


def _split(hosts: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in hosts.split(',')) if hosts.strip() else ()


def _check(cluster: Cluster) -> None:
    if not cluster.ws_hosts:
        raise UsageError('--ps_hosts without --ws_hosts: a cluster needs workers; give --ws_hosts host:port,host:port')
    for job, flag in FLAGS.items():
        for host in cluster.hosts(job):
            name, _, port = host.rpartition(':')
            if not name or '/' in host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
                raise UsageError(f'{flag}: {host!r} is not host:port; give for example node1:2222')
    everyone = [*cluster.ps_hosts, *cluster.ws_hosts]
    twice = next((host for host in everyone if everyone.count(host) > 1), None)
    if twice:
        raise UsageError(f'{twice} occurs twice in --ps_hosts and --ws_hosts; each task needs a host:port of its own')
    number = len(cluster.hosts(cluster.job))
    if not number:
        raise UsageError('--job_name ps needs --ps_hosts; list the parameter servers or start a worker')
    if cluster.index >= number:
        raise UsageError(
            f'--task_index {cluster.index}: {FLAGS[cluster.job]} lists {number} of job {cluster.job}; '
            f'give 0 to {number - 1}'
        )


_EXAMPLE = '{"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}'


class _Task(msgspec.Struct):
    type: str = ''
    index: Annotated[int, msgspec.Meta(ge=-1, lt=2**31)] | Annotated[str, msgspec.Meta(pattern='^[0-9]{1,9}$')] = 0


class _TfConfig(msgspec.Struct):
    """The fields of TF_CONFIG that are used."""

    cluster: dict[str, list[str] | None] | None = None
    task: _Task | None = None


def _parse_tf_config(text: str) -> Cluster | None:
    """Parses TF_CONFIG: jobs ps, worker and chief (or master), which becomes worker 0, before the others."""
    try:
        config = decode_json(text, _TfConfig, 'TF_CONFIG', _EXAMPLE, 'repair or unset it')
    except DataError as error:
        raise UsageError(str(error)) from None
    jobs, task = {job: hosts for job, hosts in (config.cluster or {}).items() if hosts}, config.task or _Task()
    job, index = task.type, int(task.index)
    if not jobs:
        return None
    chiefs = [*jobs.get('chief', []), *jobs.get('master', [])]
    unknown = sorted({*jobs} - {'chief', 'master', 'worker', 'ps', 'evaluator'})
    if unknown or len(chiefs) > 1:
        what = f'job {unknown[0]}' if unknown else f'{len(chiefs)} chiefs'
        raise UsageError(f'TF_CONFIG has {what}; a cluster has ps, worker and at most one chief')
    if job not in ('chief', 'master', 'worker', 'ps'):
        found = f'is of type {job!r}' if job else 'has no type'
        raise UsageError(
            f'TF_CONFIG: the task of this process {found}; it must be chief, worker or ps (the chief validates: '
            f'start no evaluator)'
        )
    number = len(jobs.get(job, []))
    if not 0 <= index < number:
        raise UsageError(f'TF_CONFIG: index {index} of {job}, but the cluster has {number} of them; repair or unset it')
    if job == 'worker':
        index += len(chiefs)
    return Cluster(
        tuple(jobs.get('ps', [])), (*chiefs, *jobs.get('worker', [])), 'ps' if job == 'ps' else 'worker', index
    )
