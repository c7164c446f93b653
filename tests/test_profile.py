"""Traces and the table of operations."""

import json

import tensorflow.compat.v1 as tf

from tests.toy_tasks import CONFIG, make_task
from utils.train.profile import SKIPPED_STEPS, operation_table
from utils.train.strategies import local_runtime
from utils.train.trainer import Trainer


def test_the_steps_after_the_first_few_are_traced(tmp_path):
    Trainer(make_task(), CONFIG, local_runtime(), str(tmp_path), profile_steps=2).run()
    folder = tmp_path / 'profile'
    traced = [f'step-{SKIPPED_STEPS + i}.json' for i in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == ['operations.txt', *traced]
    events = json.loads((folder / traced[0]).read_text())['traceEvents']
    assert any(event['name'] == 'IteratorGetNext' for event in events)
    assert 'IteratorGetNext' in (folder / 'operations.txt').read_text()


def test_without_the_flag_nothing_is_traced(tmp_path):
    Trainer(make_task(), CONFIG, local_runtime(), str(tmp_path)).run()
    assert not (tmp_path / 'profile').exists()


def test_the_table_sums_calls_of_a_kind_and_means_over_steps():
    steps = tf.RunMetadata().step_stats, tf.RunMetadata().step_stats
    calls = [
        [('a', 'a = MatMul(x, y)', 3000), ('b/MatMul_1', '', 1000), ('Add', 'Add = Add(x)', 500)],
        [('Add', '', 1500)],
    ]
    for step_stats, nodes in zip(steps, calls, strict=True):
        device = step_stats.dev_stats.add(device='/job:localhost/replica:0/task:0/device:CPU:0')
        for name, label, micros in nodes:
            device.node_stats.add(
                node_name=name, timeline_label=label, op_start_rel_micros=7, op_end_rel_micros=7 + micros
            )
    table = operation_table(steps).splitlines()
    assert table[0].endswith('mean of 2 traced steps: 3.0 ms a step.')
    assert [line.split() for line in table[-2:]] == [
        ['MatMul', 'CPU:0', '1', '2.00', '66.7%'],
        ['Add', 'CPU:0', '1', '1.00', '33.3%'],
    ]
