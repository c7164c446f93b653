"""The configuration file of a run directory."""

import pytest

from models.config import ModelConfig
from utils.config import TrainConfig
from utils.errors import DataError, UsageError
from utils.run_directory import RunConfig, check_same_model


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
    with pytest.raises(UsageError, match='rnn_cell gru, the command line says lstm'):
        check_same_model(ModelConfig(), {'rnn_cell': 'lstm'}, 'run')
