"""run_test.py and run_predict.py around a recogniser that only pretends."""

import json

import numpy as np
import pytest
import soundfile

import run_predict
import run_test
import run_train
from models.config import ModelConfig
from scripts import tune_lm
from tests.oracles import EchoRecognizer
from utils.config import DEVICE_OPTIONS, RunFlags, TrainConfig, train_parser
from utils.data.feature_file import write_features
from utils.data.index import write_index
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.errors import run_main
from utils.recognition.report import Evaluation, References
from utils.run_directory import Run, RunConfig


class PretendingRecognizer(EchoRecognizer):
    """Scores an index as if 'hi yo' had been recognised in every utterance."""

    config = ModelConfig()

    def prepare(self, index):
        return References.prepare(index, self.vocabulary)

    def evaluate(self, references, batch_size, keep_posteriors=False):
        hypotheses = self.recognize([np.zeros((frames, 40)) for frames in references.index.frames], batch_size)
        return Evaluation.score(references, hypotheses, self.vocabulary, 2.0)


@pytest.fixture
def run_dir(monkeypatch, tmp_path):
    """A run whose recogniser finds 'hi yo' in everything; it has no checkpoint."""
    path = str(tmp_path / 'run')
    config = RunConfig(ModelConfig(features=40), TrainConfig(), 'fbank-40-0.02-0.01')
    Run.create(path, config, Vocabulary.english(), FeatureStatistics(np.zeros(40), np.ones(40)))
    monkeypatch.setattr(
        'utils.recognition.recognizer.load_recognizer',
        lambda run, checkpoint, decoder, devices=None: PretendingRecognizer(run.vocabulary, 'hi yo'),
    )
    return path


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / 'audio' / 'a.wav'
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(8000), 8000)
    return str(path)


def test_one_file_prints_its_text_alone(run_dir, audio, capsys):
    assert run_predict.main(['-s', run_dir, audio]) == 0
    assert capsys.readouterr().out == 'hi yo\n'


def test_several_files_print_names_and_texts(run_dir, audio, capsys):
    assert run_predict.main(['-s', run_dir, audio, audio]) == 0
    assert capsys.readouterr().out == f'{audio}\thi yo\n' * 2


def test_directory_prints_names_and_texts(run_dir, audio, tmp_path, capsys):
    assert run_predict.main(['-s', run_dir, str(tmp_path / 'audio')]) == 0
    assert capsys.readouterr().out == f'{audio}\thi yo\n'


def test_json_is_an_object_a_line(run_dir, audio, capsys):
    assert run_predict.main(['-s', run_dir, '--json', audio, audio]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(each) for each in objects] == [['confidence', 'duration', 'file', 'text', 'words']] * 2


def test_format_writes_a_file_for_each_recording(run_dir, audio, tmp_path, capsys):
    assert run_predict.main(['-s', run_dir, '--format', 'srt', '--out', str(tmp_path / 'out'), audio, audio]) == 0
    assert capsys.readouterr().out == ''
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a-2.srt', 'a.srt']
    assert (tmp_path / 'out/a.srt').read_text().splitlines()[2] == 'hi yo'


def test_json_and_another_format_contradict_each_other(capsys):
    with pytest.raises(SystemExit) as caught:
        run_predict.main(['-s', 'run', '--json', '--format', 'srt', 'a.wav'])
    assert caught.value.code == 2
    assert 'not allowed with' in capsys.readouterr().err


def test_bad_file_among_good_ones_is_named_and_the_status_is_1(run_dir, audio, tmp_path, capsys):
    bad = tmp_path / 'bad.flac'
    bad.write_bytes(b'')
    assert run_predict.main(['-s', run_dir, str(bad), str(tmp_path / 'none.wav'), audio]) == 1
    out, err = capsys.readouterr()
    assert out == f'{audio}\thi yo\n'
    assert [line.startswith('error: ') for line in err.splitlines()] == [True, True]
    assert str(bad) in err
    assert str(tmp_path / 'none.wav') in err


def test_no_audio_at_all_needs_no_model(tmp_path, capsys):
    assert run_predict.main(['-s', str(tmp_path / 'no-run'), str(tmp_path / 'none.wav')]) == 1
    assert 'none.wav: no such file' in capsys.readouterr().err


@pytest.mark.parametrize('flags', [['-b', '0'], ['--longest', '0'], ['--longest', 'nan']])
def test_values_that_cannot_work_are_usage_errors(flags, audio, capsys):
    with pytest.raises(SystemExit) as caught:
        run_predict.main(['-s', 'run', audio, *flags])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize('parse', [run_test.parse_args, tune_lm.parse_args])
@pytest.mark.parametrize(
    'flags',
    ['--beam_width 1000000', '--nbest 1e9', '--lm_weight nan', '--temperature inf', '-b 4 --posteriors DIR', '-b x'],
)
def test_values_of_decoding_that_cannot_be_meant_are_usage_errors(parse, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(['-s', 'run', '-t' if parse is run_test.parse_args else '-d', 'i.json', '--lm', 'lm', *flags.split()])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.fixture
def make_index(tmp_path):
    def make(name, texts):
        entries = []
        for number, text in enumerate(texts):
            key = f'{number}.npz'
            write_features(str(tmp_path / key), np.zeros((9, 40), np.float32), [])
            entries.append({'key': key, 'duration': 0.1, 'texts': text, 'frames': 9, 'features': 'fbank-40-0.02-0.01'})
        write_index(str(tmp_path / name), entries)
        return str(tmp_path / name)

    return make


def test_run_test_prints_the_worst_and_then_the_table(run_dir, make_index, capsys):
    indexes = [make_index('dev.json', ['hi yo', 'hi you']), make_index('test.json', ['hi yo'])]
    assert run_test.main(['-s', run_dir, '-t', *indexes]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'The worst of dev:',
        '',
        '1: 1 errors in 2 words (50.0 %)',
        'REF: hi you',
        'HYP: hi yo',
        'OP:     S',
        '',
        'index  utterances  WER %  S  D  I  CER %  S  D  I  sentence errors %',
        'dev             2  25.00  1  0  0   9.09  0  1  0              50.00',
        'test            1   0.00  0  0  0   0.00  0  0  0               0.00',
    ]


DEVICES = {'gpu_fraction': 0.25, 'recurrence': 'loop', 'intra_op_threads': 3, 'inter_op_threads': 5}


def test_mode_dev_scores_on_the_devices_that_its_flags_choose(run_dir, make_index, monkeypatch, caplog):
    given = []

    def load(run, checkpoint, decoder, devices):
        given.append(devices)
        return PretendingRecognizer(run.vocabulary, 'hi yo')

    monkeypatch.setattr('utils.recognition.recognizer.load_recognizer', load)
    flags = [part for name, value in DEVICES.items() for part in (f'--{name}', str(value))]
    index = make_index('dev', ['hi yo'])
    assert run_train.main(['-m', 'dev', '-s', run_dir, '-t', index, '-d', index, *flags, '-g', '2']) == 0
    assert {name: getattr(given[0], name) for name in DEVICES} == DEVICES
    assert '-g 2 has no effect with -m dev: one device scores' in caplog.text
    assert run_train.main(['-m', 'test', '-s', run_dir, '-t', index, '-d', index]) == 0
    assert {name: getattr(given[1], name) for name in DEVICES} == {name: getattr(RunFlags(), name) for name in DEVICES}


def test_every_option_that_both_commands_have_is_passed_on():
    flags = [part for name, value in DEVICES.items() for part in (f'--{name}', str(value))]
    of_test = {*vars(run_test.parse_args(['-s', 'a', '-t', 'b', *flags]))}
    of_train = {action.dest for action in train_parser()._actions}
    assert of_test & of_train == {'savepath', 'batch_size', *DEVICES} and {*DEVICES} == {*DEVICE_OPTIONS}


def test_hypotheses_go_below_the_run_or_where_told(run_dir, make_index, tmp_path):
    index = make_index('dev.json', ['hi yo'])
    run_test.main(['-s', run_dir, '-t', index, '--worst', '0'])
    run_test.main(['-s', run_dir, '-t', index, '--out', str(tmp_path / 'out'), '--checkpoint', 'latest'])
    assert (tmp_path / 'run' / 'test' / 'dev' / 'hypotheses.txt').read_text() == '0\thi yo\n'
    document = json.loads((tmp_path / 'out' / 'dev' / 'hypotheses.json').read_text())
    assert (document['checkpoint'], document['loss']) == ('latest', 2.0)


def test_page_lies_beside_the_hypotheses_unless_it_is_not_wanted(run_dir, make_index, tmp_path):
    indexes = [make_index('dev.json', ['hi yo', 'hi you']), make_index('test.json', ['hi yo'])]
    test = ['-s', run_dir, '-t', *indexes, '--out']
    assert run_test.main([*test, str(tmp_path / 'with')]) == 0
    assert run_test.main([*test, str(tmp_path / 'no'), '--html', 'no']) == 0
    assert sorted(path.name for path in (tmp_path / 'with/test').iterdir()) == [
        'hypotheses.json',
        'hypotheses.txt',
        'report.html',
    ]
    assert 'WER 25.00 %' in (tmp_path / 'with/dev/report.html').read_text()
    assert not list((tmp_path / 'no').rglob('*.html'))


def test_comparison_is_printed_after_the_table(run_dir, make_index, tmp_path, capsys):
    test = ['-s', run_dir, '-t', make_index('dev.json', ['hi yo', 'hi you']), '--worst', '0']
    run_test.main(test)
    capsys.readouterr()
    for other in (run_dir, str(tmp_path / 'run/test'), str(tmp_path / 'run/test/dev/hypotheses.json')):
        assert run_test.main([*test, '--compare', other]) == 0
        assert capsys.readouterr().out.splitlines()[2:] == [
            f'dev: WER 25.00 % here, 25.00 % in {other}: +0.00 points (95 %: +0.00 to +0.00). '
            'The difference is not significant (matched pairs, p = 1.000, 1 segments)'
        ]


def test_comparison_with_nothing_is_refused_before_anything_is_evaluated(run_dir, make_index, tmp_path, capsys):
    arguments = ['-s', run_dir, '-t', make_index('dev.json', ['hi yo']), '--compare', str(tmp_path / 'none')]
    assert run_main(lambda: run_test.main(arguments)) == 1
    assert 'none: no hypotheses.json of the index dev in it' in capsys.readouterr().err
    assert not (tmp_path / 'run' / 'test').exists()


def test_options_of_devices_are_refused_beside_saved_posteriors(capsys):
    with pytest.raises(SystemExit):
        run_test.parse_args(['-s', 'a', '-t', 'b', '--posteriors', 'c', '--recurrence', 'loop'])
    assert '--recurrence is for the model, which --posteriors does without' in capsys.readouterr().err


def test_broken_index_is_reported_before_anything_is_evaluated(run_dir, make_index, tmp_path, capsys):
    (tmp_path / 'broken.json').write_text('{"key": \n')
    arguments = ['-s', run_dir, '-t', make_index('dev.json', ['hi yo']), str(tmp_path / 'broken.json')]
    assert run_main(lambda: run_test.main(arguments)) == 1
    assert 'broken.json line 1' in capsys.readouterr().err
    assert not (tmp_path / 'run' / 'test').exists()
