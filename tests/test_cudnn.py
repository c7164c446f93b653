"""Recurrent layers by cuDNN: parameter layout, values and gradients of the loop, operations of the graph."""

import dataclasses
import importlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.cells import NUM_GATES
from models.config import ModelConfig
from models.fast import cudnn
from models.fast.recurrence import recurrence
from models.layers import ACTIVATIONS, Phase
from models.rnn import recurrent_layer
from tests import cudnn_standin
from tests.gpu_kernels import host_arguments, host_operations, require_cuda_build
from tests.toy_tasks import MODEL_CONFIG, MODELS, SMALL, make_model_task, read_weights
from utils.run_directory import RunConfig
from utils.train.graph import TrainGraph
from utils.train.strategies import local_runtime
from utils.training import training_loss

UNITS, INPUTS, FRAMES = 4, 3, 6
LENGTHS = [6, 1, 4]
CELLS = ('gru', 'lstm', 'rnn')
LAYERS = [('gru', {}), ('gru', {'bidirectional': False}), ('lstm', {'merge': 'concat'}), ('rnn', {})]


@pytest.fixture
def standin(monkeypatch):
    tf.disable_control_flow_v2()  # as the commands do: a gradient of the stand-in's loop is run in another call
    monkeypatch.setattr(cudnn, 'operation', cudnn_standin.cudnn_rnn)


def random_weights(cell, seed=0, inputs=INPUTS):
    """Kernel, recurrent kernel and bias of a direction."""
    rng, columns = np.random.default_rng(seed), NUM_GATES[cell] * UNITS
    return tuple(rng.normal(size=shape).astype('f') for shape in ([inputs, columns], [UNITS, columns], [columns]))


def packed(cell, *directions):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(cudnn.pack(cell, [tuple(map(tf.constant, weights)) for weights in directions]))


def blocks(array, order):
    """The gates of the last axis in another order."""
    return np.concatenate([np.split(array, len(order), -1)[i] for i in order], -1)


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
def test_packing_is_that_of_keras(cell, monkeypatch):
    require_cuda_build()  # Keras orders a GRU's gates for cuDNN in such a build only
    keras_rnn = importlib.import_module('keras.src.backend.tensorflow.rnn')  # its package has a function of this name

    kernel, recurrent, bias = random_weights(cell)
    found = {}

    class Reached(Exception):
        pass

    def operation(params, **_):
        found['params'] = params
        raise Reached

    monkeypatch.setattr(keras_rnn.tf.raw_ops, 'CudnnRNNV3', operation)
    x, rest = np.zeros([FRAMES, 2, INPUTS], 'f'), (None, True, False, True)
    with tf.Graph().as_default(), tf.Session() as session:
        state = tf.zeros([2, UNITS])
        with pytest.raises(Reached):
            if cell == 'gru':  # Keras has update, reset, candidate, and a bias in each product
                kernel, recurrent, bias = (blocks(each, (1, 0, 2)) for each in (kernel, recurrent, bias))
                both = np.stack([bias, np.zeros_like(bias)])
                keras_rnn._cudnn_gru(tf.constant(x), state, kernel, recurrent, both, *rest)
            else:  # Keras has input, forget, candidate, output, and its bias in the recurrent product
                kernel, recurrent, bias = (blocks(each, (0, 1, 3, 2)) for each in (kernel, recurrent, bias))
                keras_rnn._cudnn_lstm(tf.constant(x), state, state, kernel, recurrent, tf.constant(bias), *rest)
        theirs = session.run(found['params'])
    ours = packed(cell, random_weights(cell))
    if cell == 'lstm':  # the sum of the two biases counts
        ours, theirs = (np.append(p[: -2 * bias.size], p[-2 * bias.size : -bias.size] + p[-bias.size :])
                        for p in (ours, theirs))
    np.testing.assert_array_equal(ours, theirs)


def loop(cell, x, directions, lengths):
    """Outputs of the loop for each direction, `[time, batch, units]`, zero on padding."""
    mask = tf.expand_dims(tf.transpose(tf.sequence_mask(lengths, tf.shape(x)[0], tf.float32)), 2)
    outputs = []
    for reverse, (kernel, recurrent, bias) in zip((False, True), directions, strict=False):
        projected = tf.reshape(tf.matmul(tf.reshape(x, [-1, INPUTS]), kernel) + bias, [*x.shape[:2], bias.shape[0]])
        outputs.append(recurrence(cell, projected, recurrent, mask, ACTIVATIONS['tanh'], reverse) * mask)
    return tf.concat(outputs, 2)


@pytest.mark.parametrize('num_directions', [1, 2])
@pytest.mark.parametrize('cell', CELLS)
def test_pytorch_with_the_packed_parameters_computes_what_the_loop_does(cell, num_directions):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    x = np.random.default_rng(5).normal(size=[FRAMES, len(LENGTHS), INPUTS]).astype('f')
    outward = np.random.default_rng(6).normal(size=[FRAMES, len(LENGTHS), num_directions * UNITS]).astype('f')
    directions = [random_weights(cell, seed) for seed in range(num_directions)]
    with tf.Graph().as_default(), tf.Session() as session:
        x_tensor = tf.constant(x)
        weights = [tuple(map(tf.constant, each)) for each in directions]
        y = loop(cell, x_tensor, weights, LENGTHS)
        params = cudnn.pack(cell, weights)
        ours = session.run([y, *tf.gradients(y * outward, [x_tensor, *(each for row in weights for each in row)])])
        flat = torch.tensor(session.run(params), requires_grad=True)

    kind = {'gru': torch.nn.GRU, 'lstm': torch.nn.LSTM, 'rnn': torch.nn.RNN}[cell]
    layer = kind(INPUTS, UNITS, bidirectional=num_directions == 2)
    # cuDNN's layout: the matrices of all directions, then their biases; PyTorch names them by direction
    names = [f'{kind}_{place}_l0{end}' for kind in ('weight', 'bias') for end in ('', '_reverse')[:num_directions]
             for place in ('ih', 'hh')]
    pieces, start = {}, 0
    for name in names:
        shape = getattr(layer, name).shape
        pieces[name] = flat[start : start + shape.numel()].reshape(shape)
        start += shape.numel()
    assert start == len(flat)
    theirs_x = torch.tensor(x, requires_grad=True)
    rows = torch.nn.utils.rnn.pack_padded_sequence(theirs_x, LENGTHS, enforce_sorted=False)
    y, _ = torch.func.functional_call(layer, pieces, (rows,))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=FRAMES)
    (y * torch.tensor(outward)).sum().backward()
    np.testing.assert_allclose(ours[0], y.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], theirs_x.grad, rtol=1e-4, atol=1e-5)

    with tf.Graph().as_default(), tf.Session() as session:  # the loop's gradients, packed alike: b_R has none of ours
        grads = [tuple(map(tf.constant, ours[2 + 3 * i : 5 + 3 * i])) for i in range(num_directions)]
        expected = session.run(cudnn.pack(cell, grads))
    is_ours = packed(cell, *[tuple(np.ones_like(each) for each in row) for row in directions]) == 1
    np.testing.assert_allclose(flat.grad.numpy()[is_ours], expected[is_ours], rtol=1e-4, atol=1e-5)


def layer_results(form, cell, is_training=True, **options):
    """Output, gradients by input and variables, and statistics of a layer in one of its forms."""
    with tf.Graph().as_default(), tf.Session() as session:
        rng = np.random.default_rng(2)
        mask = tf.expand_dims(tf.transpose(tf.sequence_mask(LENGTHS, FRAMES, tf.float32)), 2)
        x = tf.constant(rng.normal(size=[FRAMES, len(LENGTHS), INPUTS]).astype('f'))
        phase = Phase(is_training=is_training, step=tf.constant(5), recurrence=form)
        y = recurrent_layer(x * mask, mask, UNITS, 'layer', cell=cell, lengths=tf.constant(LENGTHS), phase=phase,
                            **options)
        variables = sorted(tf.global_variables(), key=lambda variable: variable.name)
        for variable in variables:  # gamma, biases and averages away from their first values
            noise = rng.normal(size=variable.shape).astype('f') * 0.5
            session.run(tf.assign(variable, np.abs(noise) + 0.5 if 'variance' in variable.name else noise + 0.1))
        outward = np.random.default_rng(4).normal(size=[FRAMES, len(LENGTHS), int(y.shape[2])])
        trainable = [variable for variable in variables if variable.trainable]
        gradients = tf.gradients(y * outward.astype('f'), [x, *trainable]) if is_training else []
        statistics = {variable.op.name: value for variable, value in phase.statistics}
        shapes = {variable.op.name: tuple(variable.shape) for variable in variables}
        return shapes, session.run([y, *gradients, *(statistics[name] for name in sorted(statistics))])


@pytest.mark.parametrize('is_training', [True, False])
@pytest.mark.parametrize('use_batch_norm', [True, False])
@pytest.mark.parametrize('cell, options', LAYERS, ids=str)
def test_a_layer_has_the_values_and_variables_of_the_loop(cell, options, use_batch_norm, is_training, standin):
    options = {**options, 'use_batch_norm': use_batch_norm, 'is_training': is_training}
    shapes, ours = layer_results('cudnn', cell, **options)
    loop_shapes, theirs = layer_results('loop', cell, **options)
    assert shapes == loop_shapes
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def train_graph(form, model, strategy=None):
    config = dataclasses.replace(MODEL_CONFIG, keep_prob=0.8)
    task = make_model_task(model)._replace(loss_fn=training_loss(RunConfig(model, config, ''), recurrence=form))
    runtime = local_runtime(inter_op_threads=2)
    return TrainGraph(task, config, runtime._replace(strategy=strategy) if strategy else runtime)


@pytest.mark.parametrize('name', ['ds2', 'las'])
def test_a_checkpoint_of_the_loop_is_trained_further_by_cudnn(name, tmp_path, standin):
    model = ModelConfig(name, **{**SMALL, **MODELS[name], 'batch_norm': True})
    path, found = str(tmp_path / 'model-0'), []
    for form in ('loop', 'cudnn'):
        graph = train_graph(form, model)
        with graph.open(path if form == 'cudnn' else None) as session:
            if form == 'loop':
                graph.saver.save(session, path)
            graph.start([np.arange(3), np.arange(3, 6)], 0)
            results = [graph.run_step(0.01) for _ in range(2)]
            found.append((read_weights(session), [result.losses for result in results]))
    (weights, losses), (others, other_losses) = found
    np.testing.assert_allclose(losses, other_losses, rtol=1e-4)
    assert weights.keys() == others.keys()
    for variable, value in weights.items():
        np.testing.assert_allclose(value, others[variable], rtol=1e-3, atol=1e-5, err_msg=variable)


@pytest.mark.parametrize('name, layers', [('ds2', 2), ('las', 3)])
def test_each_layer_is_one_operation_whose_neighbours_all_run_on_the_gpu(name, layers):
    require_cuda_build()
    model = ModelConfig(name, **{**SMALL, **MODELS[name], 'batch_norm': True, 'rnn_layers': layers})
    ops = train_graph('cudnn', model, tf.distribute.OneDeviceStrategy('/gpu:0'))._graph.get_operations()
    for kind in ('CudnnRNNV3', 'CudnnRNNBackpropV3'):
        found = [op for op in ops if op.type == kind]
        assert len(found) == layers
        assert all('GPU:0' in op.device for op in found)
    prefix = 'rnn' if name == 'ds2' else 'listener/listener'
    # the variables' initial values are drawn without a device; what remains is run at each step
    inside = [op for op in ops if op.name.startswith(prefix) and op.device and not is_of_variable(op)]
    assert len(inside) > 100
    assert not [op for op in inside if op._get_control_flow_context() is not None]
    on_host = [op for op in inside if host_operations([op])]
    assert {op.type for op in on_host} <= {'Const', 'Maximum'}  # the lengths
    for op in (op for op in inside if op.type == 'CudnnRNNV3'):
        assert host_arguments(op) == {'sequence_lengths', 'host_reserved'}
        (lengths,) = [each for each in op.inputs if each.dtype == tf.int32]
        assert 'CPU:0' in lengths.op.device


def is_of_variable(op):
    """Whether an operation reads, assigns or initialises a variable."""
    return any(part in op.name for part in ('/Initializer', '/Assign', '/Read', '/IsInitialized'))


def test_an_empty_utterance_is_masked_instead_of_failing(standin, monkeypatch):
    seen = []

    def operation(sequence_lengths, **rest):
        seen.append(sequence_lengths)
        return cudnn_standin.cudnn_rnn(sequence_lengths=sequence_lengths, **rest)

    monkeypatch.setattr(cudnn, 'operation', operation)
    with tf.Graph().as_default(), tf.Session() as session:
        mask = tf.constant([[[1.0], [0.0]], [[1.0], [0.0]]])
        x = tf.ones([2, 2, INPUTS]) * mask
        y = recurrent_layer(x, mask, UNITS, 'layer', lengths=tf.constant([2, 0]), phase=Phase(recurrence='cudnn'))
        session.run(tf.global_variables_initializer())
        lengths, values = session.run([seen[0], y])
    assert lengths.tolist() == [2, 1]
    assert not values[:, 1].any() and values[:, 0].all()


@pytest.mark.parametrize('cell, activation, supported',
                         [('gru', 'tanh', True), ('gru', 'relu', False), ('lstm', 'elu', False), ('rnn', 'relu', False),
                          ('rnn', 'tanh', True), ('lstm', 'sigmoid', False)])
def test_only_tanh_cells_are_cudnns(cell, activation, supported):
    assert cudnn.is_supported(cell, activation) == supported
