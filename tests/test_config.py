"""Command line of run_train.py: options, defaults, help, and combinations that are refused."""

import dataclasses
import re

import pytest

from models.config import ModelConfig
from utils.config import RunFlags, TrainConfig, parse_train_flags, train_parser
from utils.errors import UsageError, run_main
from utils.option_rules import check_options, resolve_flags, resumed_options
from utils.run_directory import RunConfig, new_model_config

REQUIRED = ['-t', 'a.json', 'b.json', '-d', 'c.json', '-s', 'run']


def parse(*extra):
    flags = parse_train_flags([*REQUIRED, *extra])
    check_options(flags.model, flags.train, flags.given)
    return flags


def test_defaults_are_those_of_the_contract():
    flags = parse()
    model, train = new_model_config(flags, 28), flags.train
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
    if field.name == 'train_weights':
        return (1.0, 0.5), ['1,0.5']
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
    assert parse('-k', '0').train.keep_prob == 1
    assert new_model_config(parse('-ub', 'no', '-bn', 'False'), 28).bidirectional is False


def test_a_run_goes_on_with_its_own_settings_and_the_flags_given():
    saved = dataclasses.replace(TrainConfig(), learning_rate=0.5, epochs=7, batch_size=4)
    train = resumed_options(saved, parse('-p', '9'))
    assert (train.learning_rate, train.epochs, train.batch_size) == (0.5, 9, 4)


def test_las_has_its_own_defaults_where_the_papers_differ():
    paper = new_model_config(parse('-md', 'las'), 28)
    assert (paper.classes, paper.rnn_cell, paper.rnn_layers, paper.activation) == (29, 'lstm', 4, 'tanh')
    assert not paper.batch_norm and not paper.conv_layers and paper.ctc_weight == 0.2
    assert new_model_config(parse('-md', 'las', '-rc', 'gru', '-bn', 'yes'), 28).batch_norm


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['-b', '4', '--frames_per_batch', '900'], 'both set the size of a step'),
        (['-md', 'ds1', '-rl', '3'], 'Deep Speech has one recurrent layer'),
        (['-md', 'las', '-rl', '2'], 'give 3 or more'),
        (['-md', 'las', '-cl', '2', '-rl', '1'], 'give 2 or more'),
        (['-md', 'ds1', '-cl', '2'], '-cl 2 is for ds2 and las, -md is ds1'),
        (['--context_frames', '5'], '--context_frames 5 is for ds1'),
        (['--ctc_weight', '0'], '--ctc_weight 0 is for las, -md is ds2'),
        (['-gc', '0'], '-1 for no limit'),
        (['-lr', '0.5', '--weight_decay', '2'], '--weight_decay 2 times -lr 0.5 takes all of each weight'),
        (['-md', 'las', '-n', '256', '--attention_heads', '3'], 'share -n 256 units; give a divisor'),
        (['--train_weights', '1,0.5,2'], '--train_weights 1,0.5,2 has 3 weights for 2 -t indexes; give one for each'),
    ],
)
def test_flags_that_cannot_work_together_are_refused(extra, message):
    with pytest.raises(UsageError, match=message):
        parse(*extra)


CANNOT_BE_MEANT = '''-b 0 -b 3000000000 -lr fast -lr 0 -lr inf -lr nan -lr 1e9 -bn perhaps -k 1.5 -k 1e-9 -k nan -f 80
    -f x -gc nan -gc 0 -gc inf -gc 1e-9 --beta2 1 --beta2 nan --momentum 1 --lr_decay inf --lr_decay 1e9
    --input_noise inf -n 0 --checkpoint_secs nan --cluster_timeout_secs inf -gf nan --seed -1 --seed 2147483648 -p 0
    -g 1000 -rl 100000 --intra_op_threads 99999 -n 1000000000 --tempo_range nan --ctc_weight nan
    --train_weights 0 --train_weights 1,-1 --train_weights 1,nan --train_weights 1, --train_weights 1:2'''.split()


@pytest.mark.parametrize('field', FIELDS, ids=[field.name for field in FIELDS])
def test_no_option_takes_nan_or_infinity(field, capsys):
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        for value in ('nan', 'inf', '-inf', '1e999', '9' * 400):
            with pytest.raises(SystemExit):
                parse((field.metadata['option'].flags or (f'--{field.name}',))[0], value)
        assert not re.search('None|Error|invalid', capsys.readouterr().err)


@pytest.mark.parametrize(
    ('extra', 'note'),
    [
        ('--lookahead_frames 30', '--lookahead_frames 30 has no effect with -ub yes'),
        ('--patience 2', '--patience 2 has no effect with --lr_schedule epoch'),
        ('--momentum 0.9', '--momentum 0.9 has no effect with -o adam'),
        ('--beta2 0.9 -o sgd', '--beta2 0.9 has no effect with -o sgd'),
        ('--max_time_mask 9 --freq_masks 1', '--max_time_mask 9 has no effect with --time_masks 0'),
        ('--max_freq_mask 9 --time_masks 1', '--max_freq_mask 9 has no effect with --freq_masks 0'),
        ('--warp_range 0.1 -f 39', '--warp_range 0.1 has no effect with -f 39'),
        ('--summary_steps 5 -us no', '--summary_steps 5 has no effect with -us no'),
        ('--lr_schedule cosine --lr_decay 2', '--lr_decay 2 has no effect with --lr_schedule cosine'),
        ('-md las --ctc_weight 0 --ctc_smoothing 0.1', '--ctc_smoothing 0.1 has no effect with --ctc_weight 0'),
        ('--weight_noise_from_step 9', '--weight_noise_from_step 9 has no effect with --weight_noise 0'),
        ('-md las --ctc_weight_end 0.1', '--ctc_weight_end 0.1 has no effect with --ctc_weight_steps 0'),
        ('--augment_from_epoch 3', '--augment_from_epoch 3 has no effect without augmentation'),
        ('-ub no --lookahead_frames 30 --time_masks 1 --max_time_mask 9 --augment_from_epoch 1', ''),
        ('--lr_schedule plateau --lr_decay 2 --patience 2 --warp_range 0.1 -o nm --momentum 0.9', ''),
    ],
)
def test_an_option_without_effect_beside_the_others_is_named_in_one_line(extra, note, caplog):
    parse(*extra.split())
    assert [record.message for record in caplog.records] == [note] * bool(note)


@pytest.mark.parametrize(('saved', 'extra', 'message'), [
    ({'frames_per_batch': 900}, ['-b', '4'], '--frames_per_batch 900 and -b both set the size of a step'),
    ({'lr_schedule': 'plateau', 'lr_decay': 2.0}, ['--lr_decay', '1'], 'divides by --lr_decay, which is 1'),
    ({}, ['-i', '12', '-p', '3'], 'ends before epoch 10; give -i 10 or less'),
    ({}, ['-i', '5'], 'began with epoch 0; leave -i out, or say with -p how many epochs'),
])  # fmt: skip
def test_options_are_checked_against_those_of_the_run_that_is_resumed(saved, extra, message, tmp_path):
    RunConfig(ModelConfig(), TrainConfig(**saved), 'log-81-0.02-0.01').save(str(tmp_path))
    flags = parse_train_flags([*REQUIRED, *extra, '-s', str(tmp_path)])
    with pytest.raises(UsageError, match=message):
        resolve_flags(flags)


def test_options_of_the_run_need_not_be_repeated(tmp_path, caplog):
    saved = TrainConfig(lr_schedule='plateau', lr_decay=2.0, frames_per_batch=900)
    RunConfig(ModelConfig(model='ds1', features=40, rnn_layers=1), saved, 'fbank-40-0.02-0.01').save(str(tmp_path))
    extra = ['-s', str(tmp_path), '--context_frames', '9', '--patience', '3', '--frames_per_batch', '0', '-b', '4']
    flags = resolve_flags(parse_train_flags([*REQUIRED, *extra]))
    assert (flags.model.features, flags.train.lr_decay, flags.train.batch_size) == (40, 2.0, 4)
    assert not caplog.records


@pytest.mark.parametrize(
    ('saved', 'flags', 'expected'),
    [((0, 10), '-i 10 -p 10', (0, 20)), ((0, 20), '-i 10 -p 10', (0, 20)), ((5, 10), '-i 2 -p 10', (5, 7)),
     ((0, 10), '-i 0', (0, 10)), ((3, 4), '-p 9', (3, 9))],
)  # fmt: skip
def test_another_first_epoch_only_moves_the_last(saved, flags, expected):
    options = resumed_options(TrainConfig(initial_epoch=saved[0], epochs=saved[1]), parse(*flags.split()))
    assert (options.initial_epoch, options.epochs) == expected


@pytest.mark.parametrize('extra', [*zip(CANNOT_BE_MEANT[::2], CANNOT_BE_MEANT[1::2], strict=True)], ids=' '.join)
def test_values_out_of_range_end_with_status_2_and_one_line(extra, capsys):
    try:
        status = run_main(lambda: parse(*extra))
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
