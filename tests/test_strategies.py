"""Settings of -g and -gf on GPUs, by what they set: sessions, all-reduce, places of variables."""

from collections import Counter

import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from tests.gpu_kernels import require_cuda_build
from tests.toy_tasks import MODEL_CONFIG, MODELS, SMALL, make_model_task
from utils.cluster import runtime as cluster
from utils.cluster.spec import Cluster
from utils.errors import UsageError
from utils.train import strategies
from utils.train.graph import TrainGraph
from utils.train.strategies import local_runtime, session_options


@pytest.fixture
def two_gpus(monkeypatch):
    for module in (strategies, cluster):
        monkeypatch.setattr(module, 'num_gpus', lambda: 2)


@pytest.mark.parametrize('share, fraction', [(0.5, 0.5), (1.0, 0.0)])
def test_gpu_fraction_is_the_share_of_memory_and_1_leaves_cuda_its_own(share, fraction):
    config = session_options(share)
    assert config.gpu_options.per_process_gpu_memory_fraction == fraction
    assert config.allow_soft_placement


def test_threads_within_an_operation_are_tensorflows_choice_on_a_gpu(two_gpus):
    assert session_options().intra_op_parallelism_threads == 0


def test_one_gpu_holds_the_variables_and_the_step(two_gpus):
    (device,) = local_runtime().strategy.extended.worker_devices
    assert device.endswith('GPU:0')


def test_a_step_of_two_gpu_towers_has_one_all_reduce_by_nccl(two_gpus):
    require_cuda_build()
    model = ModelConfig('ds2', **{**SMALL, **MODELS['ds2'], 'batch_norm': True})
    graph = TrainGraph(make_model_task(model), MODEL_CONFIG, local_runtime(inter_op_threads=2, towers=2))
    ops = [op for op in graph._graph.get_operations() if op.type == 'NcclAllReduce']
    assert sorted(op.device[-5:] for op in ops) == ['GPU:0', 'GPU:1']
    # one part of the sum a tower: all gradients, the statistics of batch norm, and three counts
    with graph._graph.as_default():
        trainable, moving = tf.trainable_variables(), [v for v in tf.global_variables() if 'moving_' in v.name]
    assert {int(op.inputs[0].shape[0]) for op in ops} == {3 + sum(v.shape.num_elements() for v in trainable + moving)}
    places = Counter(op.device[-5:] for op in graph._graph.get_operations() if op.type == 'VarHandleOp')
    assert places['GPU:0'] - places['GPU:1'] in (0, 1) and set(places) == {'GPU:0', 'GPU:1'}


def test_more_towers_than_gpus_are_refused(two_gpus):
    with pytest.raises(UsageError, match='-g 3: this machine has 2 GPUs'):
        local_runtime(towers=3)


def test_workers_with_gpus_all_reduce_by_nccl(two_gpus, monkeypatch):
    made = []

    def strategy(communication, resolver):
        made.append(communication)
        raise InterruptedError

    monkeypatch.setattr(tf.distribute.experimental, 'MultiWorkerMirroredStrategy', strategy)
    for count in (2, 0):
        monkeypatch.setattr(cluster, 'num_gpus', lambda count=count: count)
        with pytest.raises(InterruptedError):
            cluster.cluster_runtime(Cluster((), ('a:1', 'b:1'), 'worker', 0), session_options(), 1)
    kinds = tf.distribute.experimental.CollectiveCommunication
    assert made == [kinds.NCCL, kinds.AUTO]
