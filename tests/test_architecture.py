"""The floors of the house: imports go down only, and `-h` answers without TensorFlow."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from utils import jit

ROOT = Path(__file__).parent.parent
COMMANDS = ['libri_preprocess.py', 'thchs_preprocess.py', 'run_train.py', 'run_test.py', 'run_predict.py']
USES_TENSORFLOW = {'utils/data/pipeline.py'}
UPPER_FLOOR = ('utils/train/', 'utils/cluster/', 'utils/recognition/', 'utils/run_directory.py', 'utils/system.py')


def imports_of(path):
    """Modules that a file imports, anywhere in it; those for type checkers alone do not count."""
    names = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, 'id', '') == 'TYPE_CHECKING'
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def files_below(folder):
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob('*.py'))


def uses(path, package):
    return sorted(name for name in imports_of(ROOT / path) if name == package or name.startswith(package + '.'))


@pytest.mark.parametrize('path', files_below('models'))
def test_models_know_nothing_of_utils(path):
    assert not uses(path, 'utils')


@pytest.mark.parametrize('path', files_below('utils'))
def test_utils_import_no_model_and_no_root_script(path):
    assert all(name.startswith('models.config') for name in uses(path, 'models'))
    for package in (command.removesuffix('.py') for command in COMMANDS):
        assert not uses(path, package)


@pytest.mark.parametrize('path', [p for p in files_below('utils') if not p.startswith(UPPER_FLOOR)])
def test_the_ground_floor_has_no_tensorflow_and_does_not_look_up(path):
    assert not uses(path, 'utils.train')
    if path not in USES_TENSORFLOW:
        assert not uses(path, 'tensorflow')
        assert not uses(path, 'utils.data.pipeline')


@pytest.mark.parametrize('command', COMMANDS)
def test_help_imports_neither_tensorflow_nor_numpy(command):
    code = f"""
import runpy, sys
sys.argv = [{command!r}, '-h']
try:
    runpy.run_path({str(ROOT / command)!r}, run_name='__main__')
except SystemExit as end:
    assert end.code == 0
assert not {{'tensorflow', 'numpy', 'scipy'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage:' in done.stdout


def test_machine_code_is_made_anew_when_any_of_its_sources_changes():
    importlib.import_module('utils.decode.ctc_beam')
    importlib.import_module('utils.lm.scorer')
    importlib.import_module('utils.decode.ctc_prefix')
    importlib.import_module('utils.lm.arpa')
    made_of = {
        Path(value.py_func.__code__.co_filename).relative_to(ROOT / 'utils').as_posix()
        for name, module in sys.modules.items()
        if name.startswith(('utils.decode.', 'utils.lm.'))
        for value in vars(module).values()
        if hasattr(value, 'py_func')
    }
    assert {'decode/prefix_search.py', 'lm/scorer.py', 'lm/arpa.py'} <= made_of
    assert set(jit.sources()) == made_of | {'jit.py'}
