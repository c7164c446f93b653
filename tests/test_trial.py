"""The trial of cuDNN's layers with stand-ins for its operation: equal, different, failing; and what follows."""

import functools
import logging

import pytest
import tensorflow.compat.v1 as tf

from models import trial as graph
from models.config import ModelConfig
from models.fast import cudnn
from tests.cudnn_standin import Output, cudnn_rnn
from utils.errors import DataError, UsageError
from utils.gpu import trial
from utils.gpu.trial import choose_recurrence, run_trial
from utils.train.strategies import session_options

TANH = ModelConfig(hidden_units=5, rnn_layers=3, activation='tanh')
BUILD = functools.partial(graph.differences, TANH)


def swapped(input, params, **rest):
    """An operation whose gates have another order than ours."""
    return cudnn_rnn(input=input, params=tf.reverse(params, [0]), **rest)


def without_lengths(input, sequence_lengths, **rest):
    """An operation that runs over the padding."""
    return cudnn_rnn(input=input, sequence_lengths=tf.fill(tf.shape(sequence_lengths), tf.shape(input)[0]), **rest)


def not_a_number(**arguments):
    y = cudnn_rnn(**arguments).output
    return Output(y / tf.zeros_like(y))


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that TensorFlow does not have; operations placed there run on the CPU."""
    monkeypatch.setattr(trial, 'num_gpus', lambda: 1)
    return session_options()


@pytest.mark.parametrize('cell, use_batch_norm, bidirectional',
                         [('gru', True, True), ('lstm', False, True), ('rnn', True, False)])
def test_equal_results_pass(cell, use_batch_norm, bidirectional, gpu, monkeypatch):
    monkeypatch.setattr(cudnn, 'operation', cudnn_rnn)
    options = {'hidden_units': 5, 'activation': 'tanh', 'batch_norm': use_batch_norm, 'bidirectional': bidirectional}
    config = ModelConfig(rnn_cell=cell, **options)
    found = run_trial(functools.partial(graph.differences, config), gpu)
    assert not found.fault
    assert 0 < found.worst < 1e-4 and found.what


@pytest.mark.parametrize('operation', [swapped, without_lengths, not_a_number])
def test_different_results_fail(operation, gpu, monkeypatch):
    monkeypatch.setattr(cudnn, 'operation', operation)
    assert 'differs: ' in run_trial(BUILD, gpu).fault


def test_the_operation_itself_fails_without_a_gpu(gpu):
    fault = run_trial(BUILD, gpu).fault
    assert fault.startswith('fails (') and 'CudnnRNN' in fault and '\n' not in fault


def choose(wanted, session_config, config=TANH):
    build = functools.partial(graph.differences, config)
    return choose_recurrence(wanted, config, graph.has_cudnn(config), build, session_config)


def test_a_passed_trial_chooses_cudnn(gpu, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cudnn, 'operation', cudnn_rnn)
    assert choose('auto', gpu) == choose('cudnn', gpu) == 'cudnn'
    assert all('recurrent layers by cuDNN: in a trial within' in message for message in caplog.messages)


def test_a_failed_trial_is_one_line_and_the_loop(gpu, caplog):
    assert choose('auto', gpu) == 'loop'
    (message,) = caplog.messages
    assert message.startswith('cuDNN fails (') and '120 a frame' in message and 'check_gpu.py' in message


def test_a_failed_trial_is_an_error_where_cudnn_is_wanted(gpu):
    with pytest.raises(DataError, match='--recurrence cudnn: cuDNN fails .*; give --recurrence loop'):
        choose('cudnn', gpu)


def test_a_cell_that_cudnn_lacks_is_one_line_and_the_loop(gpu, caplog):
    assert choose('auto', gpu, ModelConfig()) == 'loop'
    (message,) = caplog.messages
    assert message.startswith('-rc gru -a relu: cuDNN has no such cell') and '280 a frame' in message
    with pytest.raises(UsageError, match='cuDNN has no -rc gru -a relu; give -a tanh'):
        choose('cudnn', gpu, ModelConfig())


def test_without_a_gpu_auto_is_the_loop_silently_and_cudnn_an_error(monkeypatch, caplog):
    monkeypatch.setattr(trial, 'num_gpus', lambda: 0)
    caplog.set_level(logging.INFO)
    assert choose('auto', None) == 'loop'
    assert not caplog.messages
    with pytest.raises(UsageError, match='--recurrence cudnn: TensorFlow finds no GPU'):
        choose('cudnn', None)


def test_the_loop_is_taken_without_a_trial(gpu, caplog):
    assert choose('loop', gpu) == 'loop'
    assert not caplog.messages


def test_tensorfloat_32_is_allowed_its_precision(gpu, monkeypatch):
    def build():
        return {'output': tf.constant(0.01)}

    monkeypatch.setattr(trial, 'uses_tf32', lambda: True)
    assert not run_trial(build, gpu).fault
    monkeypatch.setattr(trial, 'uses_tf32', lambda: False)
    assert run_trial(build, gpu).fault == 'differs: output by 1.0e-02 of its norm, where 1e-03 is allowed'
