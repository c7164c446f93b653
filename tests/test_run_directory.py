"""Run directories and their configuration file."""

import dataclasses
import math
import os
import re
import signal
import time

import numpy as np
import pytest

from models.config import MODEL_DEFAULTS, ModelConfig
from utils.config import TrainConfig
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError
from utils.option_rules import check_same_model
from utils.run_directory import CONFIG_NAME, Run, RunConfig, _keep_aside
from utils.train.lock import LOCK_NAME, lock_run


def test_a_configuration_survives_its_file(tmp_path):
    model = ModelConfig(features=40, hidden_units=7)
    config = RunConfig(model, TrainConfig(train_files=('a', 'b')), 'fbank-40-0.02-0.01')
    config.save(str(tmp_path))
    assert RunConfig.load(str(tmp_path)) == config


@pytest.mark.parametrize('text', ['{', '{"model": {}}', '{"model": {"colour": 1}, "train": {}, "feature_spec": ""}'])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(DataError, match='config.json: not a run configuration'):
        RunConfig.load(str(tmp_path))


@pytest.mark.parametrize(
    ('part', 'changes', 'complaint'),
    [
        ('model', {'model': 'xyz'}, "model 'xyz'"),
        ('model', {'hidden_units': 0}, 'hidden_units 0'),
        ('model', {'conv_layers': 4}, 'conv_layers 4'),
        ('model', {'features': 81}, "features 81 and 'fbank-40-0.02-0.01'"),
        ('model', {'model': 'las', 'rnn_layers': 1}, '-rl 1: the listener of las'),
        ('train', {'batch_size': -1}, 'batch_size -1'),
        ('train', {'optimizer': 'xyz'}, "optimizer 'xyz'"),
        ('train', {'keep_prob': math.nan}, 'keep_prob nan'),
        ('train', {'train_weights': (1.0, 0.0)}, 'train_weights (1.0, 0.0)'),
        (None, {'feature_spec': ''}, "feature_spec ''"),
    ],
)
def test_a_configuration_that_no_command_line_gives_is_named(tmp_path, part, changes, complaint):
    config = RunConfig(ModelConfig(features=40), TrainConfig(), 'fbank-40-0.02-0.01')
    changed = changes if part is None else {part: dataclasses.replace(getattr(config, part), **changes)}
    dataclasses.replace(config, **changed).save(str(tmp_path))
    with pytest.raises(DataError, match=re.escape(f'config.json: not a run configuration ({complaint}')):
        RunConfig.load(str(tmp_path))


def test_a_configuration_may_hold_the_defaults_of_its_model(tmp_path):
    for name, defaults in MODEL_DEFAULTS.items():
        train = TrainConfig(grad_clip=math.inf)
        config = RunConfig(ModelConfig(**{'model': name, 'features': 40, **defaults}), train, 'fbank-40-0.02-0.01')
        config.save(str(tmp_path))
        assert RunConfig.load(str(tmp_path)) == config


def test_a_vocabulary_that_does_not_fit_the_classes_is_named(tmp_path):
    config = RunConfig(ModelConfig(features=40), TrainConfig(), 'fbank-40-0.02-0.01')
    Run.create(str(tmp_path), config, Vocabulary('ab'), FeatureStatistics(np.zeros(40, 'f'), np.ones(40, 'f')))
    with pytest.raises(DataError, match=r'vocab\.txt: 2 tokens, but a model of 29 classes has 28; restore the file'):
        Run.open(str(tmp_path))


def test_options_that_an_older_run_does_not_have_take_their_defaults(tmp_path):
    old = '{"model": {"model": "ds1", "rnn_layers": 1, "features": 40}, "train": {}, "feature_spec": '
    (tmp_path / 'config.json').write_text(old + '"fbank-40-0.02-0.01"}')
    model = RunConfig.load(str(tmp_path)).model
    assert (model.frame_stride, model.dense_layers, model.speller_layers) == (1, 0, 1)


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match='no config.json here'):
        RunConfig.load(str(tmp_path))


def test_a_contradiction_names_both_values():
    check_same_model(ModelConfig(), {'rnn_cell': 'gru'}, 'run')
    with pytest.raises(UsageError, match='-rc gru, the command line says lstm'):
        check_same_model(ModelConfig(), {'rnn_cell': 'lstm'}, 'run')


def test_a_run_survives_its_directory(tmp_path):
    config = RunConfig(ModelConfig(features=40), TrainConfig(), 'fbank-40-0.02-0.01')
    statistics = FeatureStatistics(np.arange(40, dtype='f'), np.ones(40, 'f'))
    made = Run.create(str(tmp_path / 'new' / 'run'), config, Vocabulary.english(), statistics)
    found = Run.open(made.path)
    assert (found.path, found.config, found.vocabulary) == (made.path, made.config, made.vocabulary)
    for one, other in zip(found.statistics, statistics, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_second_training_in_a_run_directory_is_one_line(tmp_path):
    run = str(tmp_path / 'new' / 'run')
    with lock_run(run) as check:
        says = rf'run: another training \(process {os.getpid()} on .*\) writes there'
        with pytest.raises(DataError, match=says), lock_run(run):
            pass
        check()
    assert not os.path.exists(run)  # nothing is left of a training that could not start
    with lock_run(run):
        pass


def test_the_lock_ends_with_its_process(tmp_path):
    run = tmp_path / 'run'
    child = os.fork()
    if not child:
        with lock_run(str(run)):
            time.sleep(60)
    while not (run / LOCK_NAME).exists() or not (run / LOCK_NAME).read_text():
        time.sleep(0.01)
    with pytest.raises(DataError, match=f'process {child} on'), lock_run(str(run)):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with lock_run(str(run)):
        pass
    assert run.exists() and not os.listdir(run)


def test_a_run_that_is_kept_aside_takes_no_lock_with_it(tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    (run / CONFIG_NAME).touch()
    with lock_run(str(run)) as check:
        _keep_aside(str(run))
        check()
        assert os.listdir(run) == [LOCK_NAME] and os.listdir(tmp_path / 'run.1') == [CONFIG_NAME]
        run.rename(tmp_path / 'moved')
        with pytest.raises(DataError, match='run: renamed or removed while this training wrote there'):
            check()
        with lock_run(str(run)), pytest.raises(DataError, match='renamed or removed'):
            check()


def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / 'mine')
    with pytest.raises(OSError, match='symbolic link'), lock_run(str(tmp_path)):
        pass
    assert (tmp_path / 'mine').read_text() == 'mine'
