"""Runs the shell scripts of scripts/ for tests."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS_DIR = Path(__file__).resolve().parents[1] / 'scripts'
CORPUS_VARIABLES = {'libri': 'LIBRISPEECH', 'thchs': 'THCHS30', 'an4': 'AN4'}
SUBSETS = ('train-clean-100', 'dev-clean', 'data', 'train', 'dev')
RECIPES = sorted(path.name for path in SCRIPTS_DIR.glob('run_*_train.sh'))


def corpus_variable(recipe: str) -> str:
    return CORPUS_VARIABLES[recipe.split('_')[1]]


def run_script(name: str, cwd: Path, *args: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {'PATH': os.environ['PATH'], 'HOME': str(cwd), **variables}
    command = ['bash', str(SCRIPTS_DIR / name), *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def write_program(path: Path, body: str) -> str:
    path.write_text(f'#!/bin/sh\n{body}\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def recording_python(tmp_path: Path) -> str:
    """Stands for Python: writes its arguments to `calls`; run_train.py ends with status 7, all else with 0."""
    body = f'echo "$@" >> {tmp_path}/calls; case "$1" in */run_train.py) exit 7;; esac'
    return write_program(tmp_path / 'python', body)


@pytest.fixture
def empty_corpus(tmp_path: Path) -> Path:
    for subset in SUBSETS:
        (tmp_path / 'corpus' / subset).mkdir(parents=True)
    return tmp_path / 'corpus'
