"""Command line of run_train.py: options, defaults, help, and combinations that are refused."""

import dataclasses
import re

import pytest

from models.config import ModelConfig
from utils.config import RunFlags, TrainConfig, parse_train_flags, train_parser
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


def test_without_flags_the_configuration_is_the_dataclasses():
    flags = parse()
    given = {'train_files': ('a.json', 'b.json'), 'dev_files': ('c.json',)}
    assert (flags.train, flags.model, flags.run) == (TrainConfig(**given), ModelConfig(), RunFlags(savepath='run'))
    assert sorted(vars(flags.given)) == ['dev_files', 'savepath', 'train_files']


FIELDS = [field for config in (ModelConfig, TrainConfig, RunFlags) for field in dataclasses.fields(config)]


def another_value(field):
    """A value that an option takes and that is not its default, and the words of the command line for it."""
    default, choices = field.default, field.metadata['option'].choices
    if isinstance(default, bool):
        return not default, ['no' if default else 'yes']
    if isinstance(default, tuple):
        return ['x', 'y'], ['x', 'y']
    if choices:
        value = next(each for each in choices if each != default)
    elif isinstance(default, int):
        value = default + 1
    elif isinstance(default, float):
        value = {'lr_decay': 2.0}.get(field.name, 0.75 * default + 0.11)
    else:
        value = 'text'
    return value, [str(value)]


@pytest.mark.parametrize('field', FIELDS, ids=[field.name for field in FIELDS])
def test_every_field_is_an_option_whose_flags_set_it(field):
    value, words = another_value(field)
    assert value != field.default
    for flag in field.metadata['option'].flags or (f'--{field.name}',):
        assert getattr(train_parser().parse_args([*REQUIRED, flag, *words]), field.name) == value


def test_every_option_of_the_parser_is_a_field_and_no_name_stands_twice():
    names = [field.name for field in FIELDS]
    assert len(names) == len(set(names))
    flags = {flag for field in FIELDS for flag in (*field.metadata['option'].flags, f'--{field.name}')}
    assert set(re.findall(r'^  (--?\w+)', train_parser().format_help(), re.M)) <= {*flags, '-h'}


# flag, long flag and default of every option whose command line is fixed
CONTRACT = """
    -rc --rnncell gru            -b --batch_size 16       -n --hiddens 1024      -f --features 81
    -c --classes taken           -rl --rnn_layers 7       -cl --conv_layers 3    -g --gpus 1
    -a --activation relu         -o --optimizer adam      -lr --learning_rate 2e-05
    -k --keep_prob 0.9           -gc --grad_clip 1        -m --mode train        -r --restoremodel yes
    -bn --batchnorm yes          -p --epochs 10           -i --initial_epoch 0   -t --trainfiles -
    -d --devfiles -              -s --savepath -          -gf --gpu_fraction 1   -md --model ds2
    -ub --use_bidirectional_rnn yes                       -us --use_summary yes  -v --vocabfile the
    - --ps_hosts none            - --ws_hosts the         - --job_name worker    - --task_index 0
""".split()


FIXED = list(zip(CONTRACT[::3], CONTRACT[1::3], CONTRACT[2::3], strict=True))


@pytest.mark.parametrize(('short', 'long', 'default'), FIXED)
def test_help_has_every_fixed_flag_with_its_text_and_default(monkeypatch, short, long, default):
    monkeypatch.setenv('COLUMNS', '1000')
    entries = [' '.join(entry.split()) for entry in re.split(r'\n  (?=-)', train_parser().format_help())]
    (entry,) = [entry for entry in entries if re.search(rf'(^|, ){long}(?= )', entry)]
    assert short == '-' or entry.startswith(short + ' ')
    assert len(entry.partition(long)[2].split()) > 3
    assert default == '-' or f'(default: {default}' in entry


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
        (['--lr_schedule', 'cosine', '--lr_decay', '1.2'], 'cosine does not use --lr_decay'),
        (['-gc', '0'], '-1 for no limit'),
    ],
)
def test_flags_that_cannot_work_together_are_refused(extra, message):
    with pytest.raises(UsageError, match=message):
        parse(*extra)


@pytest.mark.parametrize('extra', [['-b', '0'], ['-lr', 'fast'], ['-bn', 'perhaps'], ['-k', '1.5'], ['-f', '80']])
def test_values_out_of_range_end_with_status_2_and_one_line(extra, capsys):
    with pytest.raises(SystemExit) as end:
        parse(*extra)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
