"""The scripts that train on clusters."""

import os
import re
import sys

import pytest

from tests.shell import RECIPES, SCRIPTS_DIR, corpus_variable, run_script, write_program

DIST_RECIPES = [name.replace('.sh', '_dist.sh') for name in RECIPES if 'an4' not in name]


@pytest.mark.parametrize('recipe', DIST_RECIPES)
@pytest.mark.parametrize(('job', 'index'), [('ps', '0'), ('worker', '1')])
def test_a_task_of_a_cluster_trains_like_the_recipe_for_one_machine(
    recipe, job, index, tmp_path, empty_corpus, recording_python
):
    variables = {'PYTHON': recording_python, corpus_variable(recipe): 'corpus', 'FEATURES': 'features'}
    result = run_script(recipe, tmp_path, job, index, '-p', '3', **variables)
    assert result.returncode == 7, result.stderr
    cluster = '--ps_hosts 127.0.0.1:2222 --ws_hosts 127.0.0.1:2223,127.0.0.1:2224'
    ours = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert ours.endswith(f'{cluster} --job_name {job} --task_index {index} -p 3')
    assert '-dist' in ours.split(' -s ')[1].split()[0]
    run_script(recipe.replace('_dist', ''), tmp_path, **variables)
    alone = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert alone.split(' -s ')[0] == ours.split(' -s ')[0]


@pytest.mark.parametrize('recipe', DIST_RECIPES)
@pytest.mark.parametrize('arguments', [[], ['boss', '0'], ['ps'], ['worker', 'one']])
def test_a_task_that_is_none_is_one_line(recipe, arguments, tmp_path):
    result = run_script(recipe, tmp_path, *arguments)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert 'usage: ' in line and '{ps,worker} INDEX' in line


def test_without_parameter_servers_the_workers_all_reduce(tmp_path, empty_corpus, recording_python):
    variables = {'PYTHON': recording_python, 'LIBRISPEECH': 'corpus', 'PS_HOSTS': '', 'WS_HOSTS': 'a:1,b:1'}
    run_script('run_libri_ds2_train_dist.sh', tmp_path, 'worker', '1', **variables)
    call = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert '--ps_hosts  --ws_hosts a:1,b:1 ' in call


def test_a_local_cluster_ends_with_the_status_of_its_chief_and_says_whose_a_line_is(tmp_path):
    # the chief ends when the others have spoken, or they might be stopped before
    others = f'while [ "$(ls {tmp_path} | grep -c said)" -lt 4 ]; do sleep 0.1; done'
    chief = f'case "$*" in *"worker --task_index 0"*) {others}; exit 7;; *) touch {tmp_path}/said.$$;; esac'
    task = write_program(tmp_path / 'task', f'echo "$@"; {chief}')
    variables = {'PYTHON': sys.executable, 'NUM_WORKERS': '3', 'NUM_PS': '2'}
    result = run_script('run_cluster_local.sh', tmp_path, task, '-p', '3', **variables)
    assert result.returncode == 7, result.stderr
    lines = dict(re.fullmatch(r'\[(.*?)\] (.*)', line).groups() for line in result.stdout.splitlines())
    assert sorted(lines) == ['ps 0', 'ps 1', 'worker 0', 'worker 1', 'worker 2']
    for name, arguments in lines.items():
        job, index = name.split()
        assert arguments.startswith('-p 3 --ws_hosts ')
        assert arguments.endswith(f'--job_name {job} --task_index {index}')


def test_a_local_cluster_of_nothing_is_one_line(tmp_path):
    for arguments, variables in (([], {}), (['true'], {'NUM_WORKERS': '0'})):
        result = run_script('run_cluster_local.sh', tmp_path, *arguments, **variables)
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1


def test_slurm_starts_the_same_all_reduce_cluster_on_every_node(tmp_path, empty_corpus, recording_python):
    (tmp_path / 'scripts').symlink_to(SCRIPTS_DIR)
    (tmp_path / 'bin').mkdir()
    write_program(tmp_path / 'bin' / 'scontrol', 'printf "n1\\nn2\\n"')
    write_program(tmp_path / 'bin' / 'srun', 'shift; SLURM_PROCID=1 exec "$@"')
    variables = {'PYTHON': recording_python, 'LIBRISPEECH': 'corpus', 'SLURM_JOB_NODELIST': 'n[1-2]'}
    path = f'{tmp_path}/bin:{os.environ["PATH"]}'
    result = run_script('cluster/slurm.sh', tmp_path, '-p', '3', PATH=path, **variables)
    assert result.returncode == 7, result.stderr
    call = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert call.endswith('--ps_hosts  --ws_hosts n1:2222,n2:2222 --job_name worker --task_index 1 -p 3')
