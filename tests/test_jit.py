"""Compiled kernels and their cache."""

import importlib
import sys
import tempfile
from pathlib import Path

import pytest

from utils import jit

ROOT = Path(__file__).parent.parent


def test_machine_code_is_made_anew_when_any_of_its_sources_changes():
    importlib.import_module('utils.decode.ctc_beam')
    importlib.import_module('utils.lm.scorer')
    importlib.import_module('utils.decode.ctc_prefix')
    made_of = {
        Path(value.py_func.__code__.co_filename).relative_to(ROOT / 'utils').as_posix()
        for name, module in sys.modules.items()
        if name.startswith(('utils.decode.', 'utils.lm.'))
        for value in vars(module).values()
        if hasattr(value, 'py_func')
    }
    assert {'decode/prefix_search.py', 'lm/scorer.py', 'lm/ngram.py'} <= made_of
    assert set(jit.sources()) == made_of | {'jit.py'}


@pytest.fixture
def read_only_cache(monkeypatch, tmp_path):
    """The checkout's cache, with one compiled function, on a disk that cannot be written."""
    own = tmp_path / 'utils' / '__pycache__' / jit._CACHE_NAME
    (own / 'lm').mkdir(parents=True)
    (own / 'lm' / 'f.nbi').write_text('compiled')
    make = tempfile.TemporaryFile

    def refuse(dir):
        if Path(dir).is_relative_to(tmp_path / 'utils'):
            raise PermissionError
        return make(dir=dir)

    monkeypatch.setattr(jit, '_DIRECTORY', tmp_path / 'utils')
    monkeypatch.setattr(jit._SETTINGS, 'CACHE_DIR', '')
    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    return own


@pytest.mark.parametrize('home', ['writable', 'not writable'])
def test_a_cache_that_cannot_be_written_is_read(read_only_cache, home, monkeypatch, tmp_path):
    user_dir = '/dev/null' if home == 'not writable' else tmp_path / 'user'
    monkeypatch.setenv('XDG_CACHE_HOME', str(user_dir))
    found = Path(jit._cache_dir.__wrapped__())
    assert found != read_only_cache and found.is_relative_to(user_dir) == (home == 'writable')
    assert (found / 'lm' / 'f.nbi').read_text() == 'compiled'


def test_where_nothing_can_be_written_functions_are_compiled_without_a_cache(read_only_cache, monkeypatch):
    def refuse():
        raise FileNotFoundError('no usable temporary directory')

    monkeypatch.setenv('XDG_CACHE_HOME', '/dev/null')
    monkeypatch.setattr(tempfile, 'mkdtemp', refuse)
    monkeypatch.setattr(jit, '_cache_dir', jit._cache_dir.__wrapped__)
    assert not jit.is_cached()
    assert jit.compiled(lambda x: x + 1)(2) == 3
