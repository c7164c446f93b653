"""Run directories and their configuration file."""

import numpy as np
import pytest

from models.config import ModelConfig
from utils.config import TrainConfig
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError
from utils.option_rules import check_same_model
from utils.run_directory import Run, RunConfig


def test_a_configuration_survives_its_file(tmp_path):
    config = RunConfig(ModelConfig(hidden_units=7), TrainConfig(train_files=('a', 'b')), 'fbank-40-0.02-0.01')
    config.save(str(tmp_path))
    assert RunConfig.load(str(tmp_path)) == config


@pytest.mark.parametrize('text', ['{', '{"model": {}}', '{"model": {"colour": 1}, "train": {}, "feature_spec": ""}'])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(DataError, match='config.json: not a run configuration'):
        RunConfig.load(str(tmp_path))


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match='no config.json here'):
        RunConfig.load(str(tmp_path))


def test_a_contradiction_names_both_values():
    check_same_model(ModelConfig(), {'rnn_cell': 'gru'}, 'run')
    with pytest.raises(UsageError, match='-rc gru, the command line says lstm'):
        check_same_model(ModelConfig(), {'rnn_cell': 'lstm'}, 'run')


def test_a_run_survives_its_directory(tmp_path):
    config = RunConfig(ModelConfig(), TrainConfig(), 'fbank-40-0.02-0.01')
    statistics = FeatureStatistics(np.arange(40, dtype='f'), np.ones(40, 'f'))
    made = Run.create(str(tmp_path / 'new' / 'run'), config, Vocabulary.english(), statistics)
    found = Run.open(made.path)
    assert (found.path, found.config, found.vocabulary) == (made.path, made.config, made.vocabulary)
    for one, other in zip(found.statistics, statistics, strict=True):
        np.testing.assert_array_equal(one, other)
