"""From flags to a configuration."""

import dataclasses

import pytest

from models.config import ModelConfig
from utils.config import TrainConfig, parse_train_flags
from utils.errors import UsageError
from utils.run_directory import new_model_config, new_train_config

REQUIRED = ['-t', 'a.json', 'b.json', '-d', 'c.json', '-s', 'run']


def parse(*extra):
    return parse_train_flags([*REQUIRED, *extra])


def test_defaults_are_those_of_the_contract():
    flags = parse()
    model, train = new_model_config(flags, 28), new_train_config(flags, None)
    assert (model.model, model.rnn_cell, model.hidden_units, model.features, model.classes) == (
        'ds2',
        'gru',
        1024,
        81,
        29,
    )
    assert (model.rnn_layers, model.conv_layers, model.activation) == (7, 3, 'relu')
    assert model.batch_norm and model.bidirectional
    assert (train.batch_size, train.optimizer, train.learning_rate) == (16, 'adam', 2e-5)
    assert (train.keep_prob, train.grad_clip, train.epochs, train.initial_epoch) == (0.9, 1.0, 10, 0)
    assert train.train_files == ('a.json', 'b.json') and train.use_summary


def test_the_defaults_of_flags_and_dataclasses_agree():
    flags = parse()
    given = {'train_files': ('a.json', 'b.json'), 'dev_files': ('c.json',)}
    assert new_train_config(flags, None) == TrainConfig(**given)
    assert new_model_config(flags, 28) == ModelConfig()


def test_deep_speech_has_its_own_defaults_which_flags_override():
    paper = new_model_config(parse('-md', 'ds1'), 28)
    assert (paper.rnn_cell, paper.rnn_layers, paper.conv_layers, paper.batch_norm) == ('rnn', 1, 0, False)
    assert new_model_config(parse('-md', 'ds1', '-rc', 'lstm'), 28).rnn_cell == 'lstm'


def test_spellings_of_the_contract_are_translated():
    assert new_model_config(parse('-a', 'sigmod'), 28).activation == 'sigmoid'
    assert new_train_config(parse('-k', '0'), None).keep_prob == 1
    assert new_model_config(parse('-ub', 'no', '-bn', 'False'), 28).bidirectional is False


def test_a_run_goes_on_with_its_own_settings_and_the_flags_given():
    saved = dataclasses.replace(TrainConfig(), learning_rate=0.5, epochs=7, batch_size=4)
    train = new_train_config(parse('-p', '9'), saved)
    assert (train.learning_rate, train.epochs, train.batch_size) == (0.5, 9, 4)


def test_las_has_its_own_defaults_where_the_papers_differ():
    paper = new_model_config(parse('-md', 'las'), 28)
    assert (paper.classes, paper.rnn_cell, paper.rnn_layers, paper.activation) == (29, 'lstm', 4, 'tanh')
    assert not paper.batch_norm and not paper.conv_layers and paper.ctc_weight == 0.2
    assert new_model_config(parse('-md', 'las', '-rc', 'gru', '-bn', 'yes'), 28).batch_norm


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['-b', '4', '--frames_per_batch', '900'], 'give one of them'),
        (['-md', 'ds1', '-rl', '3'], 'Deep Speech has one recurrent layer'),
        (['-md', 'las', '-rl', '2'], 'give 3 or more'),
        (['-md', 'las', '-cl', '2', '-rl', '1'], 'give 2 or more'),
        (['-md', 'ds1', '-cl', '2'], '-cl 2 is for ds2 and las, -md is ds1'),
        (['--context_frames', '5'], '--context_frames 5 is for ds1'),
        (['--ctc_weight', '0'], '--ctc_weight 0.0 is for las, -md is ds2'),
        (['--lr_schedule', 'cosine', '--lr_decay', '1.2'], 'no part in --lr_schedule cosine'),
        (['-gc', '0'], '-1 for no limit'),
        (['--ps_hosts', 'localhost:1'], '--ps_hosts without --ws_hosts'),
        (['--job_name', 'ps'], 'for a cluster'),
    ],
)
def test_flags_that_cannot_work_together_are_refused(extra, message):
    with pytest.raises(UsageError, match=message):
        parse(*extra)


def test_a_cluster_in_the_environment_is_for_training_only(monkeypatch):
    monkeypatch.setenv('TF_CONFIG', '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    assert parse().cluster.index == 1
    assert parse('-m', 'dev').cluster is None


@pytest.mark.parametrize('extra', [['-b', '0'], ['-lr', 'fast'], ['-bn', 'perhaps'], ['-k', '1.5'], ['-f', '80']])
def test_values_out_of_range_end_with_status_2_and_one_line(extra, capsys):
    with pytest.raises(SystemExit) as end:
        parse(*extra)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
