"""Runs that begin with the weights of another run, and layers that are frozen at first."""

import dataclasses
import itertools
import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import models
import run_train
from models.config import MODEL_DEFAULTS, ModelConfig
from models.layers import Phase
from tests.processes import Process, free_hosts, run_train_main
from tests.toy_tasks import FEATURES, MODEL_CONFIG, MODELS, NUM_ROWS, SMALL, make_model_task, read_weights
from utils.config import TrainConfig
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, run_main
from utils.run_directory import Run, RunConfig
from utils.train.checkpoint import Checkpoints
from utils.train.graph import TrainGraph
from utils.train.strategies import local_runtime
from utils.train.trainer import Trainer
from utils.train.transfer import InitialWeights, follow_symbols, matching_classes

ALL = {**MODELS, 'ds1': MODEL_DEFAULTS['ds1'], 'ds2': {**MODELS['ds2'], 'batch_norm': True}}
OLD, NEW = Vocabulary('abcd'), Vocabulary('dxbzy')  # b and d are shared
CLASSES = np.array([3, -1, 1, -1, -1, 4])  # the old class of each new one; the last is the blank


def model_of(name, vocabulary=OLD, **options):
    return ModelConfig(name, **{**SMALL, **ALL[name], 'classes': len(vocabulary) + 1, **options})


def variables_of(model):
    """Names and shapes of a model's variables."""
    with tf.Graph().as_default():
        network = models.get(model)
        output = network.forward(tf.zeros([1, 16, FEATURES]), tf.constant([16]), model, Phase())
        network.losses(output, tf.zeros([1, 1], tf.int32), tf.constant([1]), model, Phase(), models.Criterion())
        return {variable.op.name: tuple(variable.shape) for variable in tf.global_variables()}


def run_of(model, vocabulary=OLD):
    statistics = FeatureStatistics(np.zeros(FEATURES, 'f'), np.ones(FEATURES, 'f'))
    return Run('old', RunConfig(model, TrainConfig(), ''), vocabulary, statistics)


def trained(model):
    """A run whose weights are random."""
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(size=shape).astype('f') for name, shape in variables_of(model).items()}
    return InitialWeights(run_of(model), 'model-7', weights)


def opened(model, transfer=None, frozen=(), runtime=None, config=MODEL_CONFIG):
    """A training graph of a model with open session."""
    task = make_model_task(model)._replace(transfer=transfer, frozen=frozen)
    graph = TrainGraph(task, config, runtime or local_runtime(inter_op_threads=2))
    graph.open(None)
    return graph


def test_classes_follow_their_tokens_and_the_last_one_the_last():
    assert matching_classes(NEW, OLD).tolist() == CLASSES.tolist()


@pytest.mark.parametrize(('axis', 'repeats', 'others'), [(0, 1, []), (0, 2, []), (1, 1, [3]), (1, 2, [3]), (0, 1, [3])])
def test_entries_of_shared_classes_are_old_and_the_others_fresh(axis, repeats, others):
    rng = np.random.default_rng(0)
    old, fresh = (rng.normal(size=[*others[:axis], repeats * n, *others[axis:]]) for n in (5, 6))
    merged = follow_symbols(fresh, old, axis, CLASSES)
    for (number, source), repeat in itertools.product(enumerate(CLASSES), range(repeats)):
        ours = merged.take(repeat * 6 + number, axis)
        theirs = fresh.take(repeat * 6 + number, axis) if source < 0 else old.take(repeat * 5 + source, axis)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize('name', ALL)
def test_the_layers_of_a_configuration_are_scopes_of_its_model_and_class_axes_are_all_there_are(name):
    model = model_of(name, bidirectional=name != 'ds2', **({'dense_layers': 1} if name == 'ds2' else {}))
    shapes, others = variables_of(model), variables_of(dataclasses.replace(model, classes=11))
    axes = {
        variable: axis
        for variable, shape in shapes.items()
        for axis, size in enumerate(shape)
        if size != others[variable][axis]
    }
    assert axes == model.class_axes
    scopes = [next((layer for layer in model.layers if each.startswith(f'{layer}/')), None) for each in shapes]
    found = list(dict.fromkeys(filter(None, scopes)))
    assert found == list(model.layers)  # variables are created from the features up
    rest = {each.split('/')[0] for each, scope in zip(shapes, scopes, strict=True) if not scope}
    assert rest <= {'output', 'speller', 'listener'}


@pytest.mark.parametrize('name', ALL)
def test_another_vocabulary_gets_the_old_weights_and_keeps_fresh_ones_for_new_symbols(name, caplog):
    caplog.set_level('INFO')
    source, model = trained(model_of(name)), model_of(name, NEW)
    transfer = source.fit(variables_of(model), run_of(model, NEW))
    graph = opened(model)
    fresh, num_operations = read_weights(graph.session), len(graph.session.graph.get_operations())
    transfer.load(graph.session, local_runtime().strategy, graph._variables)
    assert len(graph.session.graph.get_operations()) == num_operations
    for variable, value in read_weights(graph.session).items():
        expected = source.weights.get(variable, fresh[variable])
        if variable in model.class_axes:
            expected = follow_symbols(fresh[variable], expected, model.class_axes[variable], CLASSES)
        np.testing.assert_array_equal(value, expected, variable)
    assert caplog.messages == [
        f'variables of old, model-7: {len(source.weights)} taken; new: none; left: none',
        'symbols: 2 taken; new: 3 (x z y); left: 2 (a c)',
    ]


def test_variables_of_other_names_or_shapes_are_named_as_new_and_left(caplog):
    caplog.set_level('INFO')
    source, model = trained(model_of('ds2', conv_layers=2)), model_of('ds2', dense_layers=1)
    transfer = source.fit(variables_of(model), run_of(model))
    kernels = ['rnn1/forward/kernel', 'rnn1/backward/kernel']
    assert not {*kernels, 'conv2/kernel', 'dense1/kernel'} & transfer.weights.keys()
    (message,) = caplog.messages
    assert message.endswith(
        'new: 4 (rnn1/forward rnn1/backward dense1); left: 7 (conv2 conv2/batch_norm rnn1/forward rnn1/backward)'
    )
    with pytest.raises(DataError, match='--init_from: no variable of old, model-7 fits this model'):
        source._replace(weights={'other/kernel': np.zeros(3)}).fit(variables_of(model), run_of(model))


def values_after(graph, steps, is_frozen=False, batch=4):
    batches = [np.arange(step * batch, (step + 1) * batch) % NUM_ROWS for step in range(steps)]
    graph.start(batches, 0)
    results = [graph.run_step(0.01, is_frozen=is_frozen) for _ in batches]
    return read_weights(graph.session), results[-1]


@pytest.mark.parametrize(('optimizer', 'towers'), [('adam', 1), ('rmsprop', 1), ('nm', 2)])
def test_frozen_layers_keep_every_bit_and_move_afterwards(optimizer, towers):
    config = dataclasses.replace(MODEL_CONFIG, optimizer=optimizer)
    runtime = local_runtime(inter_op_threads=2, towers=towers)
    graph = opened(model_of('ds2'), None, ('conv1',), runtime, config)
    before, _ = values_after(graph, 1)  # the slots have values
    during, _ = values_after(graph, 2, is_frozen=True)
    after, _ = values_after(graph, 2)
    is_frozen = {name: name.startswith('conv1/') for name in before}
    assert sum(is_frozen.values()) >= 8  # three variables and their slots, two moving averages
    for name, value in before.items():
        if is_frozen[name]:
            np.testing.assert_array_equal(value, during[name], name)
        else:
            assert (value != during[name]).any(), name
        assert (during[name] != after[name]).any(), name


def test_a_graph_that_can_freeze_trains_like_another_and_leaves_frozen_gradients_out_of_the_norm():
    plain, graph = opened(model_of('ds2')), opened(model_of('ds2'), None, ('conv1',))
    theirs, their_result = values_after(plain, 2)
    ours, our_result = values_after(graph, 2)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    graph.open(None)
    _, frozen_result = values_after(graph, 1, is_frozen=True)
    graph.open(None)
    _, first_result = values_after(graph, 1)
    assert our_result.grad_norm == their_result.grad_norm
    assert 0 < frozen_result.grad_norm < first_result.grad_norm


def test_two_towers_begin_and_freeze_like_one_device():
    source, model = trained(model_of('ds2', batch_norm=False)), model_of('ds2', NEW, batch_norm=False)
    transfer = source.fit(variables_of(model), run_of(model, NEW))
    weights = []
    for towers in (1, 2):
        graph = opened(model, transfer, ('conv1',), local_runtime(inter_op_threads=2, towers=towers))
        weights.append(values_after(graph, 5, is_frozen=True)[0])
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        np.testing.assert_allclose(*(each[name] for each in weights), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_run_takes_the_averages_of_another_and_begins_its_own_with_them(tmp_path, monkeypatch):
    model, config = model_of('ds2'), dataclasses.replace(MODEL_CONFIG, ema=0.5)
    old = opened(model, config=config)
    values, _ = values_after(old, 2)
    (tmp_path / 'checkpoints').mkdir()
    with old.session:
        old.saver.save(old.session, str(tmp_path / 'checkpoints/model-2'), write_meta_graph=False)
    monkeypatch.setattr('utils.train.transfer.open_initial_run', lambda path: run_of(model))
    source = InitialWeights.read(str(tmp_path), 'model-2')
    assert source.weights.keys() == variables_of(model).keys()
    begun = read_weights(opened(model, source.fit(variables_of(model), run_of(model)), config=config).session)
    for name, value in source.weights.items():
        for each in (values[f'{name}/ema'], begun[name], begun[f'{name}/ema']):
            np.testing.assert_array_equal(each, value, name)
    assert (values['output/kernel'] != source.weights['output/kernel']).any()


class Killed(Exception):
    pass


@pytest.mark.parametrize('num_steps', [0, 2])
def test_a_killed_run_resumes_to_the_same_bits_without_the_other_run(tmp_path, num_steps):
    source, model = trained(model_of('ds2')), model_of('ds2', NEW)
    transfer = source.fit(variables_of(model), run_of(model, NEW))
    config = dataclasses.replace(MODEL_CONFIG, epochs=2, checkpoint_secs=0.0, average_checkpoints=0)
    scored = []
    task = make_model_task(model)._replace(
        transfer=transfer,
        frozen=('conv1',),
        plan=lambda epoch: list(np.arange(NUM_ROWS).reshape(3, 4)),
        validate=lambda path: scored.append(os.path.basename(path)) or {'error': 0.5, 'dev_loss': 1.0},
    )

    def train(name, task, end=99):
        trainer = Trainer(task, config, local_runtime(inter_op_threads=2), str(tmp_path / name))
        run_step, steps = trainer._graph.run_step, itertools.count()

        def run_until_end(*arguments):
            if next(steps) == end:
                raise Killed
            return run_step(*arguments)

        trainer._graph.run_step = run_until_end
        return trainer.run()

    assert train('whole', task) == 0
    assert scored == ['model-0', 'model-3', 'model-6']
    with pytest.raises(Killed):
        train('killed', task, num_steps)
    assert train('killed', task._replace(transfer=None)) == 0
    weights = [tf.train.load_checkpoint(str(tmp_path / name / 'checkpoints/model-6')) for name in ('whole', 'killed')]
    for name in weights[0].get_variable_to_shape_map():
        np.testing.assert_array_equal(*(each.get_tensor(name) for each in weights), name)
    first = tf.train.load_checkpoint(str(tmp_path / 'whole/checkpoints/model-3'))
    np.testing.assert_array_equal(first.get_tensor('conv1/kernel'), source.weights['conv1/kernel'])
    assert (weights[0].get_tensor('conv1/kernel') != source.weights['conv1/kernel']).any()
    steps = [json.loads(line)['step'] for line in (tmp_path / 'killed/history.jsonl').read_text().splitlines()]
    assert steps == [3, 6]


def command(*arguments):
    return run_main(lambda: run_train.main([str(argument) for argument in arguments]))


@pytest.fixture(scope='module')
def old_run(features):
    """A run of two epochs on the corpus of tones."""
    path = features.parent.parent / 'old'
    flags = '-md ds2 -f 40 -cl 1 -rl 1 -n 8 -a tanh -b 3 -k 1 -lr 5e-3 -p 2 -us no --keep_checkpoints 9'.split()
    assert command(*flags, '-t', features, '-d', features, '-s', path) == 0
    return path


def line_of(caplog, start):
    (line,) = [message for message in caplog.messages if message.startswith(start)]
    return line


def test_the_command_begins_with_the_scores_of_the_other_run_and_can_be_repeated(old_run, features, tmp_path, caplog):
    caplog.set_level('INFO')
    best = Checkpoints(str(old_run)).best()
    flags = ['-t', features, '-d', features, '-s', tmp_path / 'new', '-us', 'no', '-p', '1', '--init_from', old_run]
    assert command(*flags) == 0
    scores = f'dev loss {best["dev_loss"]:.2f}, WER {best["wer"]:.2%}, CER {best["cer"]:.2%}'
    assert line_of(caplog, 'before the first step') == f'before the first step: {scores} (best)'
    config = json.loads((tmp_path / 'new/config.json').read_text())
    assert config['train']['init_from'] == str(old_run) and config['train']['init_checkpoint'] == best['name']
    assert config['model'] == json.loads((old_run / 'config.json').read_text())['model']
    assert (tmp_path / 'new/feature_statistics.npz').read_bytes() == (old_run / 'feature_statistics.npz').read_bytes()
    caplog.clear()
    assert command(*flags) == 0  # trained already: nothing is left to do
    assert 'goes on from its own checkpoints' in line_of(caplog, '--init_from')
    assert not [message for message in caplog.messages if ' changes from ' in message or 'taken' in message]


def test_statistics_and_vocabulary_can_be_others(old_run, features, tmp_path, caplog):
    caplog.set_level('INFO')
    Vocabulary('bßd').write(str(tmp_path / 'vocab.txt'))
    lines = [json.loads(line) for line in features.read_text().splitlines()][:2]
    half = [{**line, 'key': str(features.parent / line['key']), 'texts': 'bßd'} for line in lines]
    (tmp_path / 'half.json').write_text('\n'.join(map(json.dumps, half)))
    index = tmp_path / 'half.json'
    flags = ['-t', index, '-d', index, '-s', tmp_path / 'new', '-us', 'no', '-p', '1', '--init_from', old_run]
    assert command(*flags, '--init_statistics', 'no', '-v', tmp_path / 'vocab.txt') == 0
    assert line_of(caplog, 'symbols').startswith('symbols: 2 taken; new: 1 (ß); left: 26 (<SPACE> a c e')
    new, old = (FeatureStatistics.load(str(path), 40) for path in (tmp_path / 'new', old_run))
    assert (new.mean != old.mean).any()


FAULTS = [
    ('--init_from OLD -n 9', 2, 'OLD holds a model with -n 8, the command line says 9'),
    ('--init_from OLD -f 13', 2, 'OLD holds a model with -f 40, the command line says 13'),
    ('--init_from OLD -rl 2', 2, 'OLD holds a model with -rl 1, the command line says 2'),
    ('--init_from OLD -rc lstm', 2, 'OLD holds a model with -rc gru, the command line says lstm'),
    ('--init_from OLD -md las', 2, 'OLD holds a model with -md ds2, the command line says las'),
    ('--init_from OLD --freeze 3', 2, 'this model has 2 layers below its output (conv1, rnn1)'),
    ('--init_from OLD --init_checkpoint model-5', 1, 'no model-5 checkpoint; train first, or choose another'),
    ('--init_from OLD --init_checkpoint ../x', 1, 'no ../x checkpoint'),
    ('--init_from OLD -s OLD -r no', 2, 'is -s itself; give another -s'),
    ('--init_from nothing', 1, '--init_from: nothing: no config.json here; restore it, or name another run'),
]


@pytest.mark.parametrize(('flags', 'status', 'complaint'), FAULTS, ids=[flags for flags, *_ in FAULTS])
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    old_run, features, tmp_path, capsys, monkeypatch, flags, status, complaint
):
    monkeypatch.chdir(tmp_path)
    given = ['-t', features, '-d', features, '-s', 'new', *flags.replace('OLD', str(old_run)).split()]
    assert command(*given) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error:')]
    assert complaint.replace('OLD', str(old_run)) in line
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ('damage', 'complaint'),
    [
        (lambda run: os.truncate(run / 'checkpoints/model-2.data-00000-of-00001', 900), 'damaged .*--init_checkpoint'),
        (lambda run: (run / 'vocab.txt').unlink(), 'vocab.txt is missing; restore it, or name another run'),
        (lambda run: (run / 'config.json').write_text('{'), 'config.json: not a run configuration'),
        (lambda run: os.truncate(run / 'feature_statistics.npz', 9), 'feature_statistics.npz'),
        (lambda run: (run / 'checkpoints/best.json').write_text('[]'), 'best.json: not the name'),
        (lambda run: shutil.rmtree(run / 'checkpoints'), 'no model-2 checkpoint'),
    ],
)
def test_a_damaged_run_is_one_line(old_run, features, tmp_path, capsys, damage, complaint):
    run = shutil.copytree(old_run, tmp_path / 'old')
    damage(run)
    which = 'best' if 'best' in complaint else 'model-2'
    given = ['-t', features, '-d', features, '-s', tmp_path / 'new', '--init_from', run, '--init_checkpoint', which]
    assert command(*given) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error:')]
    assert re.search(complaint, line), line
    assert not (tmp_path / 'new').exists()


def test_another_start_than_the_one_of_the_run_is_refused(old_run, features, capsys):
    given = ['-t', features, '-d', features, '-s', old_run, '--init_from', features.parent]
    assert command(*given) == 2
    assert f'began without --init_from, the command line says {features.parent}; leave' in capsys.readouterr().err


@pytest.mark.parametrize('num_ps', [0, 1])
def test_only_the_chief_of_a_cluster_needs_the_other_run(old_run, features, tmp_path, num_ps):
    hosts = free_hosts(num_ps + 2)
    flags = ['-t', features, '-d', features, '-us', 'no', '-p', '1', '-b', '2', '-o', 'sgd', '-lr', '1e-9']
    flags += ['--freeze', '1', '--ws_hosts', ','.join(hosts[num_ps:])]
    flags += ['--ps_hosts', hosts[0]] * num_ps
    tasks = []
    for job, index in [('worker', 1), *[('ps', 0)] * num_ps, ('worker', 0)]:
        path = old_run if (job, index) == ('worker', 0) else tmp_path / 'nowhere'
        own = ['--job_name', job, '--task_index', index, '-s', tmp_path / f'{job}{index}', '--init_from', path]
        tasks.append(Process(tmp_path / f'{job}{index}.log', run_train_main, *flags, *own))
    try:
        assert [task.status() for task in tasks] == [0] * len(tasks), '\n'.join(task.log for task in tasks)
    finally:
        for task in tasks:
            task.kill()
    best = Checkpoints(str(old_run)).best()
    assert f'before the first step: dev loss {best["dev_loss"]:.2f}, WER {best["wer"]:.2%}' in tasks[-1].log
    checkpoints = Checkpoints(str(tmp_path / 'worker0'))
    new, old = (tf.train.load_checkpoint(each.prefix(name)) for each, name in (
        (checkpoints, f'model-{checkpoints.steps()[-1]}'), (Checkpoints(str(old_run)), best['name'])
    ))
    assert checkpoints.steps()[-1] >= 2
    np.testing.assert_array_equal(new.get_tensor('conv1/kernel'), old.get_tensor('conv1/kernel'))
    np.testing.assert_allclose(new.get_tensor('output/kernel'), old.get_tensor('output/kernel'), atol=1e-6)
