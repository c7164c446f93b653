"""The shell scripts: what they say when something is missing, and what they pass on."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.shell import RECIPES, SCRIPTS_DIR, SUBSETS, corpus_variable, run_script, write_program


@pytest.mark.parametrize('path', sorted(SCRIPTS_DIR.glob('*.sh')), ids=lambda path: path.name)
def test_bash_reads_the_script(path):
    assert subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True).stderr == ''


@pytest.mark.parametrize('recipe', RECIPES)
def test_a_missing_corpus_is_one_line_that_names_the_variable(recipe, tmp_path):
    variable = corpus_variable(recipe)
    result = run_script(recipe, tmp_path, **{'PYTHON': sys.executable, variable: str(tmp_path / 'nowhere')})
    assert result.returncode == 1
    assert result.stdout == ''
    (line,) = result.stderr.splitlines()
    assert f'{variable}={tmp_path}/nowhere' in line and 'set ' in line
    arguments = '(an4|thchs30|librispeech train-clean-100 dev-clean) DIR'
    assert re.search(rf'download it: scripts/download_corpus\.sh {arguments}$', line)


def test_the_download_of_a_missing_corpus_goes_where_the_recipe_looks(tmp_path):
    result = run_script('run_libri_las_train.sh', tmp_path, PYTHON=sys.executable, TRAIN_SETS='train-other-500')
    command = f'scripts/download_corpus.sh librispeech train-other-500 dev-clean {tmp_path}/corpus\n'
    assert result.stderr.endswith(command)


@pytest.mark.parametrize('recipe', RECIPES)
def test_a_corpus_without_a_subset_is_one_line_that_names_both(recipe, tmp_path):
    variable = corpus_variable(recipe)
    result = run_script(recipe, tmp_path, **{'PYTHON': sys.executable, variable: str(tmp_path)})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert variable in line and any(f'{subset}/' in line for subset in SUBSETS)


@pytest.mark.parametrize('recipe', RECIPES)
def test_arguments_reach_run_train_last_and_its_status_comes_back(recipe, tmp_path, empty_corpus, recording_python):
    variables = {'PYTHON': recording_python, corpus_variable(recipe): 'corpus', 'RUN_DIR': 'my run'}
    result = run_script(recipe, tmp_path, '-p', '3', '--seed', '9', **variables)
    assert result.returncode == 7
    *preprocessing, training = (tmp_path / 'calls').read_text().splitlines()
    assert len(preprocessing) == 2 and all('_preprocess.py' in call for call in preprocessing)
    assert training.split()[0].endswith('/run_train.py')
    assert training.endswith('-s my run -p 3 --seed 9')


@pytest.mark.skipif(not shutil.which('flock'), reason='no flock on this machine: tasks cannot wait for each other')
def test_of_two_tasks_that_start_together_one_preprocesses(tmp_path, empty_corpus):
    body = f"""
echo "$@" >> {tmp_path}/calls
case "$1" in *_preprocess.py) sleep 1; for i; do case "$i" in *.json) echo '{{}}' > "$i";; esac; done;; esac"""
    variables = {'PYTHON': write_program(tmp_path / 'python', body), 'LIBRISPEECH': 'corpus', 'FEATURES': 'features'}
    with ThreadPoolExecutor() as pool:
        tasks = [
            pool.submit(run_script, 'run_libri_ds2_train_dist.sh', tmp_path, 'worker', str(i), **variables)
            for i in range(2)
        ]
        assert [task.result().returncode for task in tasks] == [0, 0]
    calls = (tmp_path / 'calls').read_text()
    assert calls.count('_preprocess.py') == 2 and calls.count('/run_train.py') == 2


@pytest.mark.parametrize('recipe', RECIPES)
def test_what_is_preprocessed_is_not_preprocessed_again(recipe, tmp_path, empty_corpus, recording_python):
    (tmp_path / 'features').mkdir()
    for subset in SUBSETS:
        (tmp_path / 'features' / f'{subset}.json').write_text('{}\n')
    variables = {'PYTHON': recording_python, corpus_variable(recipe): 'corpus', 'FEATURES': 'features'}
    run_script(recipe, tmp_path, **variables)
    (training,) = (tmp_path / 'calls').read_text().splitlines()
    assert training.split()[0].endswith('/run_train.py')


@pytest.mark.parametrize('recipe', RECIPES)
def test_training_waits_for_a_whole_index(recipe, tmp_path, empty_corpus):
    python = write_program(tmp_path / 'python', f'echo "$@" >> {tmp_path}/calls; exit 1')
    result = run_script(recipe, tmp_path, **{'PYTHON': python, corpus_variable(recipe): 'corpus'})
    assert result.returncode == 1
    assert 'run_train.py' not in (tmp_path / 'calls').read_text()


@pytest.mark.parametrize('recipe', RECIPES)
def test_utterances_left_out_do_not_stop_the_training(recipe, tmp_path, empty_corpus):
    body = f"""
echo "$@" >> {tmp_path}/calls
case "$1" in *_preprocess.py) for i; do case "$i" in *.json) echo '{{}}' > "$i";; esac; done; exit 1;; esac"""
    python = write_program(tmp_path / 'python', body)
    result = run_script(recipe, tmp_path, **{'PYTHON': python, corpus_variable(recipe): 'corpus'})
    assert result.returncode == 0
    assert 'continuing without' in result.stderr
    assert 'run_train.py' in (tmp_path / 'calls').read_text()


@pytest.mark.parametrize('script', [*RECIPES, 'run_alphabet.sh', 'run_demo.sh', 'run_tests.sh'])
def test_a_python_that_is_not_there_is_one_line(script, tmp_path):
    result = run_script(script, tmp_path, PYTHON='/nowhere/python')
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert 'PYTHON=/nowhere/python' in line


@pytest.mark.parametrize(('model', 'width'), [('ds2', 400), ('las', 32)])
def test_the_language_model_recipe_trains_tunes_and_tests_each_model(model, width, tmp_path):
    body = f"""
echo "$@" >> {tmp_path}/calls
case "$1" in */run_test.py) printf 'index WER\ndev %s\n' $(wc -l < {tmp_path}/calls);; *) echo other;; esac"""
    python = write_program(tmp_path / 'python', body)
    for name in ('run/config.json', 'feat/train-clean-100.json', 'feat/dev-clean.json'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'{{"model": "{model}"}}\n')
    variables = {'PYTHON': python, 'RUN_DIR': 'run', 'FEATURES': 'feat', 'MODELS': 'word-2 char-7'}
    result = run_script('run_an4_lm.sh', tmp_path, **variables)
    assert result.returncode == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()] == [
        ['model', 'index', 'WER'],
        ['none', 'dev', '1'],
        ['word-2', 'dev', '4'],
        ['char-7', 'dev', '7'],
    ]
    calls = (tmp_path / 'calls').read_text()
    assert '--unit char -o 7 -s run -l run/lm/char-7.arpa feat/train-clean-100.json\n' in calls
    assert f'-s run -d feat/dev-clean.json --lm run/lm/char-7.arpa --beam_width {width}\n' in calls


@pytest.mark.parametrize(('cer', 'status'), [('19.99', 0), ('20.00', 1)])
def test_the_alphabet_recipe_makes_the_vocabulary_from_train_and_checks_the_error_rate(cer, status, tmp_path):
    body = f"""
echo "$@" >> {tmp_path}/calls
case "$1" in */run_test.py) echo 'index utterances WER % S D I CER % S D I'; echo 'dev 2 50.0 1 0 0 {cer} 1 0 0 50.0';;
esac"""
    python = write_program(tmp_path / 'python', body)
    result = run_script('run_alphabet.sh', tmp_path, 'de', '-p', '3', PYTHON=python, ALPHABET_DIR='a')
    assert result.returncode == status
    assert result.stdout.splitlines()[-1].startswith(f'de       dev 2 50.0 1 0 0 {cer} 1 0 0 50.0   0 min')
    assert ('not below 20 % for de' in result.stderr) == bool(status)
    corpus, train, dev, training, _ = (tmp_path / 'calls').read_text().splitlines()
    assert corpus.endswith('make_alphabet_corpus.py de a/de/corpus')
    assert 'a/de/corpus/train.csv a/de/features a/de/features/train.json' in train
    assert train.endswith('--make_vocab a/de/features/vocab.txt')
    assert dev.endswith('-v a/de/features/vocab.txt --unknown keep')
    assert '-v a/de/features/vocab.txt' in training and training.endswith('-s a/de/run -p 3')


def test_the_alphabet_recipe_names_a_language_that_it_lacks(tmp_path):
    result = run_script('run_alphabet.sh', tmp_path, 'fr', PYTHON=sys.executable)
    assert (result.returncode, result.stdout) == (1, '')
    assert result.stderr == 'run_alphabet.sh: fr is not one of ru, de\n'


def test_the_language_model_recipe_names_what_is_missing(tmp_path):
    result = run_script('run_an4_lm.sh', tmp_path, PYTHON=sys.executable)
    assert (result.returncode, result.stdout) == (1, '')
    (line,) = result.stderr.splitlines()
    assert 'RUN_DIR=' in line and 'run_an4_ds2_train.sh' in line


def source_setup(tmp_path: Path, commands: str, path: str) -> subprocess.CompletedProcess:
    """Runs the set-up as a script would, in an empty checkout."""
    checkout = tmp_path / 'checkout'
    (checkout / 'scripts').mkdir(parents=True)
    for name in ('common.sh', 'setup_env.sh'):
        (checkout / 'scripts' / name).write_text((SCRIPTS_DIR / name).read_text())
    script = f'set -euo pipefail; source scripts/common.sh; source scripts/setup_env.sh; {commands}'
    return subprocess.run(
        ['bash', '-c', script, 'setup'], cwd=checkout, env={'PATH': path}, capture_output=True, text=True, timeout=60
    )


def test_a_python_that_is_too_old_is_one_line(tmp_path):
    old = 'case "$1" in -c) exit 1;; *) echo Python 3.9.2;; esac'
    (tmp_path / 'bin').mkdir()
    for name in ('python3.11', 'python3.12', 'python3.13', 'python3', 'python'):
        write_program(tmp_path / 'bin' / name, old)
    result = source_setup(tmp_path, 'setup_env demo', f'{tmp_path}/bin:{os.environ["PATH"]}')
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert '3.9.2' in line and 'install Python 3.11' in line


def test_a_python_without_venv_is_one_line(tmp_path):
    (tmp_path / 'bin').mkdir()
    write_program(tmp_path / 'bin' / 'python3.11', 'case "$2" in *ensurepip*) exit 1;; esac')
    result = source_setup(tmp_path, 'setup_env demo', f'{tmp_path}/bin:{os.environ["PATH"]}')
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert 'ensurepip' in line and 'python3-venv' in line


def test_requirements_are_installed_once_and_again_when_they_change(tmp_path):
    (tmp_path / 'bin').mkdir()
    # A Python whose `-m venv` makes an environment of itself, and whose `-m pip install` writes a line.
    body = """
case "$*" in
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip install"*) echo "$@" >> installs ;;
  --version) echo Python 3.11.0 ;;
esac"""
    write_program(tmp_path / 'bin' / 'python3.11', body)
    twice = 'setup_env demo; unset PYTHON; setup_env demo; unset PYTHON'
    commands = f'touch requirements.txt scripts/requirements-demo.txt; {twice}; echo tqdm > requirements.txt; {twice}'
    result = source_setup(tmp_path, commands, f'{tmp_path}/bin:{os.environ["PATH"]}')
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / 'checkout' / 'installs').read_text().splitlines()) == 2
