"""Compiled kernels and their cache."""

import importlib
import sys
from pathlib import Path

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
