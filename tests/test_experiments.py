"""The experiments' runner with commands that stand in for training and testing, its tables, statistics and figure."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import run_test
from scripts import tune_lm
from scripts.experiments import jobs, results, run, subsets, table
from tests.indexes import make_index
from tests.processes import ROOT
from utils.data.index import read_index
from utils.errors import DataError, UsageError
from utils.metrics import score
from utils.recognition.report import Evaluation, write_hypotheses

EXPERIMENTS = ROOT / 'scripts' / 'experiments'
TABLES = sorted(EXPERIMENTS.glob('*.toml'))
TABLE = """
title = "Trial"
minutes = 1
features = "made"
train = "-f 13 -n 8 --beta2 0.9"
[paths]
WHERE = "nowhere"
[sets.made]
make = ["make.py $DIR/train.json $DIR/dev.json"]
train = ["$DIR/train.json"]
dev = ["$DIR/dev.json"]
[[decodings]]
name = "greedy"
[[rows]]
name = "base"
[[rows]]
name = "wide"
flags = "-n 16"
note = "twice | as wide"
[[rows]]
name = "more"
copy_of = "base"
flags = "-p 20"
test = "--checkpoint average"
"""
# appends its arguments to calls; what `act` of its directory says decides how it ends
STUB = '''
import json, os, pathlib, signal, sys, time
root, args = pathlib.Path(__file__).parent, sys.argv[1:]
def value(flag):
    return args[len(args) - args[::-1].index(flag)] if flag in args else ""
name = pathlib.Path(__file__).stem
with open(root / "calls", "a") as calls:
    print(name, " ".join(args), sorted(os.sched_getaffinity(0)), file=calls)
act = json.loads((root / "act").read_text())
for text, what in act.items():
    if text in " ".join([name, *args]):
        if what == "fail":
            sys.exit("error: no memory\\n")
        if what == "sleep":
            pathlib.Path(root / "asleep").touch()
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            time.sleep(600)
if name == "make":
    for path in args:
        pathlib.Path(path).write_text("{}")
elif name == "run_train":
    run = pathlib.Path(value("-s"))
    run.mkdir(parents=True, exist_ok=True)
    (run / "flags").open("a").write(" ".join(args) + "\\n")
elif name == "run_test":
    row, seed = pathlib.Path(value("-s")).parts[-3:-1]
    errors = json.loads((root / "errors").read_text())[row][int(seed[-1]) - 1]
    out = pathlib.Path(value("--out")) / "dev"
    out.mkdir(parents=True, exist_ok=True)
    count = lambda n, length: {"hits": length - n, "substitutions": n, "deletions": 0, "insertions": 0}
    each = [{"utterance": f"u{i}", "words": count(n, 10), "characters": count(n, 40)} for i, n in enumerate(errors)]
    (out / "hypotheses.json").write_text(json.dumps({"scores": {"leading": "wer"}, "utterances": each}))
'''
ERRORS = {'base': [[2, 2], [1, 1], [3, 3]], 'wide': [[0, 0], [1, 1], [0, 0]], 'more': [[2, 0], [2, 0], [2, 2]]}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A directory with a table, and commands that stand for those of the project."""
    root = tmp_path / 'root'
    for name in ('make', 'run_train', 'run_test', 'scripts/train_lm', 'scripts/tune_lm'):
        (root / name).parent.mkdir(exist_ok=True)
        (root / f'{name}.py').write_text(STUB.replace('.parent,', f'.parents[{name.count("/")}],'))
    (root / 'act').write_text('{}')
    (root / 'errors').write_text(json.dumps(ERRORS))
    (tmp_path / 'trial.toml').write_text(TABLE)
    monkeypatch.setattr(jobs, 'REPOSITORY', root)
    monkeypatch.setattr(jobs, 'commit', lambda: 'abc123')
    monkeypatch.chdir(tmp_path)
    old = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, old)


def calls(lab, name=''):
    path = lab / 'root' / 'calls'
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith(name)]


def act(lab, text='', how=''):
    """Lets the commands whose line contains the text fail or sleep; without a text all of them work."""
    (lab / 'root' / 'act').write_text(json.dumps({text: how} if text else {}))


def start(lab, *arguments):
    return run.main(['trial.toml', '--runs', 'runs', *arguments])


def test_each_row_and_seed_is_trained_once_and_scored_once(lab):
    assert start(lab, '--seeds', '1', '2') == 0
    assert len(calls(lab, 'make')) == 1
    trained = calls(lab, 'run_train')
    assert len(trained) == 6 and len(calls(lab, 'run_test')) == 6
    indexes = '-t runs/features/made/train.json -d runs/features/made/dev.json'
    assert trained[1].startswith(
        f'run_train -f 13 -n 8 --beta2 0.9 -n 16 --seed 1 {indexes} -s runs/wide/seed-1/run ['
    )
    assert start(lab, '--seeds', '1', '2') == 0
    assert len(calls(lab)) == 13


def test_a_copy_resumes_the_finished_run_of_its_source_and_leaves_that_as_it_is(lab):
    assert start(lab, '--rows', 'more') == 0
    assert [line.split()[1:8] for line in calls(lab, 'run_train')] == [
        '-f 13 -n 8 --beta2 0.9 --seed'.split(),
        '-f 13 -n 8 --beta2 0.9 -p'.split(),
    ]
    copy, source = (Path('runs', row, 'seed-1', 'run', 'flags').read_text() for row in ('more', 'base'))
    assert copy.startswith(source) and len(copy.splitlines()) == 2 and len(source.splitlines()) == 1
    assert '--checkpoint average' in calls(lab, 'run_test')[1]


def test_a_row_that_fails_is_named_and_the_others_are_trained(lab, capsys):
    act(lab, 'run_train -f 13 -n 8 --beta2 0.9 -n 16', 'fail')
    assert start(lab) == 1
    text = capsys.readouterr().out
    assert '- wide seed 1: failed: run_train.py: exit status 1, no memory (runs/wide/seed-1/log.txt)' in text
    assert '| base |' in text and '| more |' in text and '| wide |' not in text
    act(lab)
    assert start(lab) == 0
    assert len(calls(lab, 'run_train')) == 4
    assert '| wide |' in capsys.readouterr().out


def test_a_row_whose_source_failed_is_not_trained(lab, capsys):
    act(lab, '--seed 1', 'fail')
    assert start(lab, '--rows', 'more') == 1
    assert 'more seed 1: failed: row base, which it starts from, is not trained' in capsys.readouterr().out
    assert len(calls(lab, 'run_train')) == 1


def test_a_test_that_fails_is_named_and_repeated_without_training(lab, capsys):
    act(lab, 'run_test', 'fail')
    assert start(lab, '--rows', 'base') == 1
    assert 'base seed 1: not decoded: greedy: run_test.py: exit status 1, no memory' in capsys.readouterr().out
    act(lab)
    assert start(lab, '--rows', 'base') == 0
    assert len(calls(lab, 'run_train')) == 1 and len(calls(lab, 'run_test')) == 2


def test_flags_that_changed_since_the_training_are_refused_before_any_work(lab):
    assert start(lab, '--rows', 'base') == 0
    Path('trial.toml').write_text(TABLE.replace('--beta2 0.9', '--beta2 0.8'))
    with pytest.raises(UsageError, match=r'row base: its flags have changed .* from "--beta2 0.9" to "--beta2 0.8";'):
        start(lab)
    assert len(calls(lab)) == 3


def test_another_way_to_decode_is_scored_again_without_training(lab):
    assert start(lab, '--rows', 'base') == 0
    decoding = 'name = "greedy"\nlm = {unit = "char", order = 4, texts = ["$WHERE"]}\ntune = "--beam_width 9"\n'
    Path('trial.toml').write_text(TABLE.replace('name = "greedy"\n', decoding))
    assert start(lab, '--rows', 'base') == 0
    assert len(calls(lab, 'run_train')) == 1 and len(calls(lab, 'run_test')) == 2
    run_dir, lm = '-s runs/base/seed-1/run', 'runs/base/seed-1/run/lm/char-4.arpa'
    dev = 'runs/features/made/dev.json'
    assert f'--unit char -o 4 --check {dev} {run_dir} -l {lm} nowhere [' in calls(lab, 'train_lm')[0]
    assert f'{run_dir} -d {dev} --lm {lm} --beam_width 9 [' in calls(lab, 'tune_lm')[0]
    assert f'--lm {lm}' in calls(lab, 'run_test')[1]


def test_a_training_at_its_time_limit_is_stopped_and_goes_on_when_the_limit_is_raised(lab, capsys):
    act(lab, '--seed 1', 'sleep')
    Path('trial.toml').write_text(TABLE.replace('minutes = 1\n', 'minutes = 0.02\n'))
    assert start(lab, '--rows', 'base') == 1
    limit = '- base seed 1: time limit: stopped after 0.02 minutes; raise minutes to go on\n'
    assert limit in capsys.readouterr().out
    num_calls = len(calls(lab))
    assert start(lab, '--rows', 'base') == 1
    assert len(calls(lab)) == num_calls and limit in capsys.readouterr().out
    act(lab)
    Path('trial.toml').write_text(TABLE)
    assert start(lab, '--rows', 'base') == 0
    assert json.loads(Path('runs/base/seed-1/status.json').read_text())['seconds'] > 1.2


def test_an_interrupted_runner_stops_its_training_and_resumes_it(lab, capsys):
    act(lab, '--seed 1', 'sleep')
    code = f'import sys; sys.path.insert(0, {str(ROOT)!r}); from scripts.experiments import jobs, run; import pathlib\n'
    code += f'jobs.REPOSITORY = pathlib.Path({str(lab / "root")!r})\nfrom utils.errors import run_main\n'
    code += 'sys.exit(run_main(lambda: run.main(["trial.toml", "--runs", "runs", "--rows", "base"])))'
    process = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while not (lab / 'root' / 'asleep').exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130 and process.stderr.read().endswith('interrupted\n')
    status = json.loads(Path('runs/base/seed-1/status.json').read_text())
    assert status['state'] == 'interrupted' and status['seconds'] > 0
    act(lab)
    assert start(lab, '--rows', 'base') == 0
    assert len(calls(lab, 'run_train')) == 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one core')
def test_jobs_that_run_at_once_have_cores_of_their_own(lab):
    cores = sorted(os.sched_getaffinity(0))
    assert start(lab, '--jobs', '2', '--seeds', '1', '2', '3', '--rows', 'base', 'wide') == 0
    used = {line[line.index('[') :] for line in calls(lab, 'run_train')}
    assert used == {str(cores[: len(cores) // 2]), str(cores[len(cores) // 2 :])}
    assert sorted(os.sched_getaffinity(0)) == cores
    with pytest.raises(UsageError, match='--jobs 999: there are'):
        start(lab, '--jobs', '999')


def test_cores_are_dealt_out_evenly(monkeypatch):
    monkeypatch.setattr(jobs.os, 'sched_getaffinity', lambda _: {3, 1, 2, 0, 7})
    assert jobs.core_groups(2) == [{0, 1}, {2, 3, 7}]
    assert jobs.core_groups(1) == [{0, 1, 2, 3, 7}]
    with pytest.raises(ValueError, match='6 jobs on 5 cores'):
        jobs.core_groups(6)


def test_the_table_has_medians_ranges_and_differences(lab, capsys):
    assert start(lab, '--seeds', '1', '2', '3') == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split(' | ')[0].lstrip('| '): line.strip('| ').split(' | ') for line in lines if line.startswith('|')}
    assert rows['row'][:5] == ['row', 'change', 'seeds', 'WER %', 'difference to base (95 %)']
    assert rows['base'][2:6] == ['3', '20.00 (10.00 to 30.00)', '', '5.00 (2.50 to 7.50)']
    assert rows['wide'][1:4] == [r'`-n 16`, twice \| as wide', '3', '0.00 (0.00 to 10.00)']
    assert rows['wide'][4].startswith('-16.67 (')
    assert rows['more'][1] == '`-p 20`, `--checkpoint average`, copy of base'
    assert 'commit abc123' in lines[-3] and '1 minutes at most a training, 1 at once' in lines[-3]
    assert lines[-1] == '![Error rates of the rows: each seed, and their medians](trial.png)'
    assert Path('runs/trial.md').read_text().splitlines() == lines


def test_the_figure_has_a_dot_for_each_seed_and_the_median(lab, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *a, **k: (figures.append(figure), save(figure, *a, **k)))
    start(lab, '--seeds', '1', '2', '3', '--out', 'out')
    (axis,) = figures[-1].axes
    lines = [line.get_xydata().tolist() for line in axis.get_lines()]
    assert [[round(x, 9) for x, _ in line] for line in lines[::2]] == [[20, 10, 30], [0, 10, 0], [10, 10, 20]]
    assert [round(line[0][0], 9) for line in lines[1::2]] == [20, 0, 10]
    assert [label.get_text() for label in axis.get_yticklabels()] == ['base', 'wide', 'more']
    assert Path('out/trial.png').read_bytes().startswith(b'\x89PNG')


def test_a_curve_is_drawn_over_the_quantity_of_its_rows(lab, monkeypatch, capsys):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *a, **k: (figures.append(figure), save(figure, *a, **k)))
    text = TABLE.replace('minutes = 1\n', 'minutes = 1\nx_label = "speech (hours)"\n')
    for name, hours in (('base', 0.5), ('wide', 4), ('more', 2)):
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\nx = {hours}\n')
    Path('trial.toml').write_text(text)
    assert start(lab) == 0
    (axis,) = figures[-1].axes
    assert axis.get_lines()[0].get_xydata().round(9).tolist() == [[0.5, 20.0], [2.0, 10.0], [4.0, 0.0]]
    assert axis.get_xscale() == 'log' and axis.get_xlabel() == 'speech (hours)' and axis.get_ylabel() == 'WER (%)'
    assert '| row | change | speech (hours) | seeds |' in capsys.readouterr().out


def outcome(errors, names=None):
    errors = np.array([[each, 2 * each] for each in errors])
    lengths = np.full_like(errors, 10)
    return results.Outcome(names or tuple(f'u{i}' for i in range(len(errors))), errors, lengths, 0)


def test_the_interval_of_a_difference_covers_utterances_and_seeds():
    base = [outcome([1, 2, 3, 0] * 25), outcome([2, 2, 3, 1] * 25)]
    found, (low, high) = results.difference([outcome([0, 1, 2, 0] * 25)] * 2, base)
    assert found == pytest.approx(7.5 - 17.5)
    assert low < found < high < 0
    # equal rows: the seeds alone make the interval, at 15 or 20 % for each of two draws of two
    same, (low, high) = results.difference(base, base)
    assert same == 0 and low == pytest.approx(-5, abs=0.5) and high == pytest.approx(5, abs=0.5)
    assert results.difference([outcome([1])], [outcome([3])]) == (pytest.approx(-20), None)


def test_rows_of_other_utterances_have_no_difference():
    assert results.difference([outcome([1, 2])], [outcome([1, 2], ('a', 'b'))]) is None


def test_a_utterance_interval_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 4, 2000), rng.integers(0, 4, 2000)
    found, (low, high) = results.difference([outcome(one)], [outcome(two)])
    width = 2 * 1.96 * (one - two).std() / np.sqrt(2000) * 10
    assert high - low == pytest.approx(width, rel=0.1)
    assert found == pytest.approx(10 * (one - two).mean())


def test_the_hypotheses_that_a_test_writes_are_read(tmp_path):
    references, texts = ['one two', 'three'], ['one too', 'three']
    spoken = [SimpleNamespace(log_prob=-1.0)] * 2
    evaluation = Evaluation(['a.npz', 'b.npz'], references, spoken, texts, score(references, texts))
    _, path = write_hypotheses(evaluation, tmp_path, 'dev', {})
    found = results.Outcome.read(path)
    assert found.names == ('a', 'b') and found.leading == 0
    assert found.errors.tolist() == [[1, 1], [0, 0]] and found.lengths.tolist() == [[2, 7], [1, 5]]
    assert found.rate(0) == pytest.approx(100 / 3) and found.rate(1) == pytest.approx(100 / 12)


def test_a_report_trains_nothing(lab, capsys):
    assert start(lab, '--report', '--seeds', '1', '4') == 1
    assert calls(lab) == []
    assert '- not run: base seed 1 4, wide seed 1 4, more seed 1 4\n' in capsys.readouterr().out


def test_features_made_by_other_commands_fail_the_rows_that_need_them(lab, capsys):
    assert start(lab, '--rows', 'base') == 0
    text = TABLE.replace('make.py', 'make.py $DIR/more.json').replace('"base"', '"new"')
    Path('trial.toml').write_text(text)
    assert start(lab, '--rows', 'new') == 1
    assert 'new seed 1: failed: features made: made by other commands before' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        (('minutes = 1\n', ''), "missing required field 'minutes'"),
        (('minutes = 1\n', 'minutes = 1\nhours = 2\n'), "unknown field 'hours'"),
        (('title', '= title'), 'not a table of experiments'),
        (('features = "made"', 'features = "mine"'), r'there is no \[sets.mine\]'),
        (('copy_of = "base"', 'copy_of = "many"'), "row more: there is no earlier row 'many'"),
        (('name = "wide"', 'name = "base"'), 'two of row base'),
        (('name = "wide"', 'name = "../wide"'), "row '../wide': give another name"),
        (('-n 16', '-n 16 --seed 3'), 'row wide: -s, -t, -d and --seed are given by the runner'),
        (('-n 16', '-n sixteen'), "row wide: argument -n/--hiddens: 'sixteen' is not an integer"),
        (('-n 16', '--no_such_flag 1'), 'row wide: unrecognized arguments: --no_such_flag'),
        (('-n 16', '--init_from $NO_SUCH_PLACE'), 'NO_SUCH_PLACE'),
        (('make.py', 'make.py $NO_SUCH_CORPUS'), 'NO_SUCH_CORPUS'),
        (('[[rows]]', '[[rows]]\nx = 2'), 'x_label'),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_line_that_names_the_place(change, complaint, lab):
    Path('trial.toml').write_text(TABLE.replace(*change))
    with pytest.raises(UsageError, match=complaint):
        start(lab)
    assert calls(lab) == []


def test_a_row_that_is_not_there_is_named(lab):
    with pytest.raises(UsageError, match='--rows none: trial.toml has no such row; it has base, wide, more'):
        start(lab, '--rows', 'none')


@pytest.mark.parametrize('path', ['status.json', 'test/greedy/dev/hypotheses.json'])
def test_a_damaged_file_of_a_row_is_named_and_the_others_are_scored(path, lab, capsys):
    assert start(lab, '--rows', 'base') == 0
    Path('runs/base/seed-1', path).write_text('{')
    assert start(lab, '--rows', 'base', 'wide') == 1
    text = capsys.readouterr().out
    assert f'- base seed 1: runs/base/seed-1/{path}: not ' in text and '| wide |' in text


def test_a_damaged_definition_stops_before_any_work(lab):
    assert start(lab, '--rows', 'base') == 0
    Path('runs/base/row.json').write_text('{')
    with pytest.raises(DataError, match=r'row.json: not the definition of a row .* remove it'):
        start(lab)
    assert len(calls(lab)) == 3


def test_flags_are_removed_with_their_values():
    flags = '-o adam --beta2 0.98 -gc -1 -t a b -b 8'.split()
    assert table.remove_flags(flags, ['--beta2', '-t']) == '-o adam -gc -1 -b 8'.split()


@pytest.mark.parametrize('path', TABLES, ids=lambda path: path.stem)
def test_the_flags_of_every_row_and_decoding_of_the_tables_are_known(path):
    found = table.Table.read(path)
    found.check_flags(found.file.rows)
    for decoding in found.file.decodings:
        lm = ['--lm', 'lm.arpa'] if decoding.lm else []
        assert run_test.parse_args(['-s', 'run', '-t', 'dev', *lm, *decoding.flags.split()])
        if decoding.tune is not None:
            assert tune_lm.parse_args(['-s', 'run', '-d', 'dev', *lm, *decoding.tune.split()])


def test_subsets_are_nested_and_keep_the_share_of_each_index(tmp_path, capsys):
    for name, frames in (('long', 400), ('short', 100)):
        (tmp_path / name).mkdir()
        make_index(tmp_path / name, [(frames + i, f'{name} {i}') for i in range(30)])
    indexes = [str(tmp_path / name / 'train.json') for name in ('long', 'short')]
    total_secs = sum((400 + i + 100 + i) / 100 for i in range(30))
    hours = [total_secs / 3600 * share for share in (0.2, 0.5)]
    assert subsets.main([str(tmp_path / 'out'), *indexes, '--hours', *map(str, hours)]) == 0
    *parts, everything = [read_index([str(path)]) for path in sorted((tmp_path / 'out').glob('*.json'))]
    assert len(everything) == 60
    assert set(parts[0].texts) < set(parts[1].texts) < set(everything.texts)
    for part, share in zip(parts, (0.2, 0.5), strict=True):
        for name in ('long', 'short'):
            assert sum(text.startswith(name) for text in part.texts) == pytest.approx(30 * share, abs=1.5)
    assert everything.features(0, 13).shape[1] == 13
    before = [list(part.texts) for part in parts]
    subsets.main([str(tmp_path / 'again'), *indexes, '--hours', *map(str, hours)])
    again = [read_index([str(path)]) for path in sorted((tmp_path / 'again').glob('*.json'))]
    assert [list(part.texts) for part in again[:2]] == before


def test_more_hours_than_there_are_write_nothing(tmp_path):
    make_index(tmp_path, [(100, 'a')])
    with pytest.raises(UsageError, match='--hours 2: the indexes have 0.00; all.json holds all of them'):
        subsets.main([str(tmp_path / 'out'), str(tmp_path / 'train.json'), '--hours', '2'])
    assert not (tmp_path / 'out').exists()
