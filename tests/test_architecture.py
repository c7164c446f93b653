"""Architecture: each rule of architecture.py holds for this checkout, and fails for a tree that breaks it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import architecture

ROOT = Path(__file__).parent.parent
COMMANDS = [*architecture.SCRIPTS, 'scripts/inspect_index.py']
COMMANDS += ['scripts/train_lm.py', 'scripts/tune_lm.py', 'scripts/convert_an4.py']
COMMANDS += ['scripts/manifest_preprocess.py', 'scripts/serve.py', 'scripts/export.py']
COMMANDS += ['scripts/experiments/run.py', 'scripts/experiments/subsets.py']
README_LINES = 200
BENCHMARK = 'scripts/benchmark'

RULES = [
    architecture.unresolved_imports,
    architecture.import_circles,
    architecture.model_violations,
    architecture.room_violations,
    architecture.tensorflow_violations,
    architecture.script_violations,
    architecture.budget_violations,
    architecture.reading_path_violations,
    architecture.size_violations,
    architecture.prose_violations,
    architecture.option_violations,
]


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.__name__)
def test_this_checkout_follows(rule):
    assert rule(ROOT) == []


def write_tree(root, files):
    """Writes {path: text}; a package's __init__.py is empty unless given."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path in files:
        for folder in Path(path).parents:
            if folder != Path('.') and not (root / folder / '__init__.py').exists():
                (root / folder / '__init__.py').write_text('')
    return root


GOOD = {
    'run_train.py': '"""Training."""\ndef main():\n    import run_test\n    from utils import training\n',
    'run_test.py': '"""Scoring."""\nfrom utils.recognition import recognizer\n',
    'models/__init__.py': '"""Models."""\ndef get():\n    from models import ctc\n',
    'models/config.py': '"""Options."""\nrate: float = option(1.0, "-lr", help="learning rate")\n',
    'models/cells.py': '"""Cells."""\nfrom models.fast import recurrence\n',
    'models/ctc.py': '"""CTC."""\nfrom models import cells\nfrom models.fast import ops\n',
    'models/fast/recurrence.py': '"""Loops."""\nfrom models import config\nfrom models.fast import ops\n',
    'models/fast/ops.py': '"""Operations."""\nimport tensorflow\n',
    'utils/training.py': '"""Joins data, model and trainer."""\nimport models\nfrom utils.train import graph\n',
    'utils/config.py': '"""Options."""\nfrom models import config\np: int = option(1, "--epochs", help="epochs")\n',
    'utils/train/graph.py': '"""Graph."""\nimport tensorflow as tf\nfrom utils.data import pipeline\n',
    'utils/data/pipeline.py': '"""tf.data."""\nimport tensorflow as tf\nfrom utils.data import index\n',
    'utils/data/index.py': '"""Index."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n'
    '    import tensorflow\n    import utils.data.pipeline\n',
    'utils/lm/scorer.py': '"""Scorer."""\nfrom utils.data import index\n',
    'utils/decode/decoder.py': '"""Decoder."""\nfrom utils.lm import scorer\n',
    'utils/recognition/recognizer.py': '"""Recognizer."""\nimport models.ctc\nfrom utils.decode import decoder\n',
    'utils/serving/app.py': '"""App."""\nfrom utils.recognition import recognizer\n',
    'scripts/serve.py': '"""Server."""\nfrom utils.serving import app\n',
    'tests/test_index.py': '"""The index."""\nimport run_train\nfrom tests import oracles\n',
    'tests/oracles.py': '"""Oracles."""\n',
    'scripts/benchmark/ctc.py': '"""Benchmark."""\nimport measuring\nfrom utils import training\n',
    'scripts/benchmark/measuring.py': '"""Measuring."""\n',
}

# a violation of each rule: file, what is appended to it, and what the rule returns
MODEL_CIRCLE = ['models/cells.py', 'models/ctc.py', 'models/fast/ops.py', 'models/fast/recurrence.py']
RECOGNIZER_CIRCLE = 'utils/decode/decoder.py <-> utils/recognition/recognizer.py'
CIRCLES = [
    ('models/fast/ops.py', 'from models import ctc', ' <-> '.join(MODEL_CIRCLE)),
    ('models/ctc.py', 'from models import Criterion', 'models/__init__.py <-> models/ctc.py'),
    ('utils/data/index.py', 'from . import pipeline', 'utils/data/index.py <-> utils/data/pipeline.py'),
    ('utils/decode/decoder.py', 'def f():\n    import utils.recognition.recognizer', RECOGNIZER_CIRCLE),
    ('run_test.py', 'def f():\n    import run_train', 'run_test.py <-> run_train.py'),
    (f'{BENCHMARK}/measuring.py', 'import ctc', f'{BENCHMARK}/ctc.py <-> {BENCHMARK}/measuring.py'),
]
MODELS = [
    ('models/ctc.py', 'import utils.config', 'models/ctc.py imports utils/config.py'),
    ('models/fast/ops.py', 'import models.ctc', 'models/fast/ops.py imports models/ctc.py'),
    ('models/fast/ops.py', 'import models', 'models/fast/ops.py imports models/__init__.py'),
    ('utils/train/graph.py', 'from models import get', 'utils/train/graph.py imports models/__init__.py'),
    ('utils/data/index.py', 'def f():\n    import models.ctc', 'utils/data/index.py imports models/ctc.py'),
]
ROOMS = [
    ('utils/train/graph.py', 'from utils.lm.scorer import Scorer', 'utils/train/graph.py imports utils/lm/scorer.py'),
    ('utils/train/graph.py', 'import_module("utils.lm.scorer")', 'utils/train/graph.py imports utils/lm/scorer.py'),
    ('utils/lm/scorer.py', 'from utils.decode import decoder', 'utils/lm/scorer.py imports utils/decode/decoder.py'),
    ('utils/decode/decoder.py', 'import utils.train.graph', 'utils/decode/decoder.py imports utils/train/graph.py'),
    ('utils/data/index.py', 'from utils.train import graph', 'utils/data/index.py imports utils/train/graph.py'),
    ('utils/training.py', 'from utils.serving import app', 'utils/training.py imports utils/serving/app.py'),
]
TENSORFLOW = [
    ('utils/lm/scorer.py', 'import tensorflow.compat.v1 as tf', 'utils/lm/scorer.py imports tensorflow.compat.v1'),
    ('utils/decode/decoder.py', 'def f():\n    import tensorflow', 'utils/decode/decoder.py imports tensorflow'),
    ('utils/data/index.py', 'from utils.data import pipeline', 'utils/data/index.py imports utils.data.pipeline'),
    ('utils/config.py', 'import tensorflow', 'utils/config.py imports tensorflow'),
    ('models/config.py', 'import tensorflow', 'models/config.py imports tensorflow'),
]
SCRIPTS = [
    ('run_test.py', 'import run_train', 'run_test.py imports run_train.py'),
    ('utils/config.py', 'import run_test', 'utils/config.py imports run_test.py'),
    (f'{BENCHMARK}/ctc.py', 'from run_train import f', f'{BENCHMARK}/ctc.py imports run_train.py'),
    ('tests/test_ctc.py', 'from tests.test_index import f', 'tests/test_ctc.py imports tests/test_index.py'),
    ('utils/config.py', 'import tests.oracles', 'utils/config.py imports tests/oracles.py'),
]
BUDGETS = [
    ('run_test.py', '#\n' * 395, '.: 401 lines, budget 320 and a tenth'),
    ('utils/lm/scorer.py', '#\n' * 1319, 'utils/lm: 1321 lines, budget 1200 and a tenth'),
    ('utils/cellar/wine.py', '"""Wine."""', 'utils/cellar: 1 lines, budget 0 and a tenth'),
]
SIZES = [
    ('utils/data/index.py', '#\n' * 396, 'utils/data/index.py: 401 lines'),
    ('models/ctc.py', 'def f():\n' + '    x = 1\n' * 60, 'models/ctc.py: f has 61 lines'),
    ('scripts/new.py', 'x = 1', 'scripts/new.py: no docstring'),
]
PROSE = [('utils/data/split.py', '"""Where speakers go."""', 'utils/data/split.py: Where speakers go.')]
OPTIONS = [
    ('utils/config.py', 'a: float = option(2.0, "-lr", help="a")', '-lr: models/config.py:2, utils/config.py:4'),
    ('utils/lm/scorer.py', 'rate: int = option(1, help="a")', '--rate: models/config.py:2, utils/lm/scorer.py:3'),
    ('utils/cli.py', 'p.add_argument("--epochs", help="a")', '--epochs: utils/cli.py:1, utils/config.py:3'),
]
UNRESOLVED = [
    ('run_test.py', 'def f():\n    from utils.gone import g', 'run_test.py:4: utils.gone.g does not exist'),
    (f'{BENCHMARK}/ctc.py', 'from models.ctc import g', f'{BENCHMARK}/ctc.py:4: models.ctc.g does not exist'),
    ('run_train.py', 'from models import gone', 'run_train.py:5: models.gone does not exist'),
]
BROKEN = [
    (architecture.unresolved_imports, UNRESOLVED),
    (architecture.import_circles, CIRCLES),
    (architecture.model_violations, MODELS),
    (architecture.room_violations, ROOMS),
    (architecture.tensorflow_violations, TENSORFLOW),
    (architecture.script_violations, SCRIPTS),
    (architecture.budget_violations, BUDGETS),
    (architecture.size_violations, SIZES),
    (architecture.prose_violations, PROSE),
    (architecture.option_violations, OPTIONS),
]


@pytest.mark.parametrize('rule', [rule for rule, _ in BROKEN], ids=lambda rule: rule.__name__)
def test_a_tree_that_follows_the_rules_has_no_violation(rule, tmp_path):
    assert rule(write_tree(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ('rule', 'path', 'text', 'violation'),
    [pytest.param(rule, *case, id=f'{rule.__name__}-{i}') for rule, cases in BROKEN for i, case in enumerate(cases)],
)
def test_one_line_that_breaks_a_rule_is_named(rule, path, text, violation, tmp_path, monkeypatch):
    monkeypatch.setattr(architecture, 'GROWTH', {})  # which changes with every feature
    write_tree(tmp_path, {**GOOD, path: GOOD.get(path, '') + text})
    assert rule(tmp_path) == [violation]


def test_the_reading_path_is_complete_and_within_its_budget(tmp_path):
    write_tree(tmp_path, GOOD)
    paths = architecture.reading_path(tmp_path)
    assert paths[:3] == ['run_train.py', 'utils/training.py', 'models/config.py']
    assert 'models/ctc.py' in paths and 'models/fast/ops.py' not in paths
    write_tree(tmp_path, dict.fromkeys(paths, ''))
    assert architecture.reading_path_violations(tmp_path) == []
    too_many = architecture.READING_PATH_LINES + 1
    (tmp_path / 'models/cells.py').write_text('#\n' * too_many)
    (tmp_path / 'utils/audio/reader.py').unlink()
    expected = ['utils/audio/reader.py is missing', f'the reading path has {too_many} lines']
    assert architecture.reading_path_violations(tmp_path) == expected


def test_the_readme_is_short_and_names_the_reading_path():
    text = (ROOT / 'README.md').read_text()
    assert len(text.splitlines()) < README_LINES
    section = text.split('## Reading path')[1].split('\n## ')[0]
    for path in architecture.READING_PATH:
        assert f'`{path}`' in section or f'`{Path(path).name}`' in section or path == 'models/*.py', path


@pytest.mark.parametrize('path', architecture.files(ROOT, 'README.md'))
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / path).read_text()):
        assert target.startswith('https://') or (ROOT / path).parent.joinpath(target).exists(), target


@pytest.mark.parametrize('command', COMMANDS)
def test_help_imports_neither_tensorflow_nor_numpy(command):
    code = f"""
import runpy, sys
sys.argv = [{command!r}, '-h']
try:
    runpy.run_path({str(ROOT / command)!r}, run_name='__main__')
except SystemExit as end:
    assert end.code == 0
assert not {{'tensorflow', 'numpy', 'scipy', 'numba'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage:' in done.stdout


def test_training_does_not_import_numba_which_takes_more_than_half_a_second():
    code = "import sys, run_train, utils.training; sys.exit('numba' in sys.modules)"
    assert not subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode
