"""The floors of the house as functions of a root directory; each returns its violations, one text each.

`tests/test_architecture.py` applies them to this checkout, and each to a tiny tree that breaks it.
"""

import ast
import fnmatch
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

SCRIPTS = ('libri_preprocess.py', 'thchs_preprocess.py', 'run_train.py', 'run_test.py', 'run_predict.py')
SCRIPT_IMPORTS = {('run_train.py', 'run_test.py')}  # for run_train.py -m dev|test
PACKAGES = {'models', 'utils', 'scripts', 'tests', *(Path(script).stem for script in SCRIPTS)}
SKIPPED = {'demo', '__pycache__'}

# lines; a tenth more is tolerated
BUDGETS = {
    '.': 320,
    'models': 1300,
    'models/fast': 800,
    'utils': 1150,
    'utils/audio': 300,
    'utils/data': 1850,
    'utils/train': 1250,
    'utils/cluster': 870,
    'utils/recognition': 700,
    'utils/gpu': 430,
    'utils/serving': 1150,
    'utils/pack': 520,
    'utils/lm': 1200,
    'utils/decode': 1700,
    'utils/export': 650,
    'utils/export/examples': 130,
}
# lines beyond these budgets, by the feature that needs them
GROWTH: dict[str, dict[str, int]] = {
    '.': {'alphabets and copies at preprocessing': 20, 'pages of tests, comparisons': 25, 'several runs': 30},
    'models': {
        'frame stride, dense layers, sampling seeds': 20,
        'names of layers, axes over the classes': 30,
        'cuDNN and its trial': 140,
        'ds2 in chunks': 170,
        'noise on weights, smoothed CTC, heads of attention': 80,
        'the internal language model of las': 30,
        'forms for other runtimes': 15,
    },
    'models/fast': {'the recurrence by cuDNN': 150, 'layers for other runtimes': 90},
    'utils/train': {
        'lock, damaged checkpoints, epochs without an update': 80,
        'weights of another run, frozen layers': 220,
        'scaled losses': 85,
        'packed checkpoints': 25,
        'moving averages of the weights, weight decay': 140,
    },
    'utils/gpu': {"PyTorch's steps, and the processor's": 75},
    'utils/cluster': {'heartbeats, exits that cannot hang, proxies': 60},
    'utils': {
        'rules between options, the JSON reader, places for caches': 240,
        'weights of indexes': 75,
        'the start from another run': 95,
        'figures about indexes': 50,
        'figures of experiments': 55,
        'intervals and significance tests': 140,
        'the form of the recurrence, scaled losses': 50,
        'averages, decay and noise of the weights, smoothing and share of CTC': 50,
    },
    'utils/audio': {'segments': 60, 'raw samples and WAV from a pipe': 120},
    'utils/data': {
        'segments, sources of features': 90,
        'manifests in seven formats': 600,
        "AN4's conversion": 150,
        'alphabets': 310,
        'copies, mixtures of indexes': 330,
        'inspection of indexes': 380,
        'features in chunks': 80,
    },
    'utils/recognition': {
        'recordings in blocks, decoding kept with hypotheses': 60,
        'live recognition, its command and options': 560,
        'subtitles, CTM, TextGrid': 270,
        'alignment, and cutting by it': 400,
        'pages of tests: errors, comparisons, charts': 800,
        'several runs that recognise together': 260,
    },
    'utils/decode': {
        'searches that go on frame by frame': 145,
        'forced alignment': 120,
        'hot words in both beams': 80,
        'ROVER, and the mean of several models': 280,
        'rules and cross-validation of tuning, the internal language model': 260,
    },
    'utils/lm': {'hot words, and their automaton': 280},
}
# 4,500 before checks of damaged files and odd input, weights of indexes, the start from another run, layers by cuDNN,
# the session of a live model, packed runs, regularisers and averages of the weights, heads of the attention, the
# internal language model of las
READING_PATH_LINES, FILE_LINES, FUNCTION_LINES = 5480, 400, 60
DATA_PATH = 'corpora features index vocabulary transcripts statistics loader batching pipeline'
READING_PATH = (
    'run_train.py utils/training.py models/config.py utils/config.py utils/run_directory.py'.split()
    + ['utils/audio/reader.py', *(f'utils/data/{name}.py' for name in DATA_PATH.split())]
    + ['models/*.py']
    + [f'utils/train/{name}.py' for name in 'step graph trainer checkpoint optimizer strategies'.split()]
    + ['utils/recognition/recognizer.py']
)

LIVE_MODEL = 'models/streaming.py'  # a second form of ds2, which a reader may skip as the fast paths

# the graphs of exports are other ones than the recognizer's: from samples on, with constants, in TF2's functions
USES_MODELS = {'utils/training.py', 'utils/recognition/recognizer.py', 'utils/export/graphs.py'}
FREE_FOR_ALL = {'models/config.py'}
FORBIDDEN = {
    'utils/train/': ('utils/cluster/', 'utils/recognition/', 'utils/decode/', 'utils/lm/'),
    'utils/lm/': ('utils/decode/', 'utils/train/', 'utils/cluster/', 'utils/recognition/'),
    'utils/decode/': ('utils/train/', 'utils/cluster/', 'utils/recognition/'),
    'utils/data/': ('utils/train/', 'utils/cluster/', 'utils/recognition/'),
    'utils/audio/': ('utils/data/', 'utils/train/', 'utils/cluster/', 'utils/recognition/'),
    'utils/serving/': ('utils/train/', 'utils/cluster/', 'utils/lm/', 'utils/gpu/'),
}
# rooms that only the script of their name imports
ONLY_FOR = {'utils/serving/': 'scripts/serve.py'}
# the rest of utils/ has no TensorFlow
USES_TENSORFLOW = ('utils/train/', 'utils/cluster/', 'utils/gpu/', 'utils/recognition/', 'utils/data/pipeline.py')
USES_TENSORFLOW += ('utils/export/', 'utils/training.py', 'utils/run_directory.py', 'utils/system.py')
OWN_PARSER = {'utils/data/preprocess_flags.py'}  # another command, whose flags may have the names of run_train.py's
QUESTION = re.compile(r'(What|Where|Who|Whether|How|From|Why|Whose|Whatever)\b')


def files(root: Path, pattern: str) -> list[str]:
    """Paths of the tree's files that match a pattern, relative to the root; hidden directories are left out."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith('.')]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in fnmatch.filter(names, pattern)]
    return sorted(found)


def python_files(root: Path, folder: str = '') -> list[str]:
    """Paths of the Python files below a folder, relative to the root; none if there is no such folder."""
    return [path for path in files(root, '*.py') if path.startswith(folder and f'{folder.rstrip("/")}/')]


@cache
def _parse(path: Path, modified: int) -> ast.Module:
    return ast.parse(path.read_text())


def parse(root: Path, path: str) -> ast.Module:
    return _parse(root / path, (root / path).stat().st_mtime_ns)


def _for_type_checkers(tree: ast.Module) -> set[int]:
    """ids of the nodes below `if TYPE_CHECKING:`."""
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test)]
    return {id(inner) for guard in guards for statement in guard.body for inner in ast.walk(statement)}


def imported_modules(root: Path, path: str) -> set[str]:
    """Dotted names that a file imports anywhere in it, `a.b` and `a.b.name` for `from a.b import name`."""
    tree, names = parse(root, path), set()
    skipped = _for_type_checkers(tree)
    for node in (node for node in ast.walk(tree) if id(node) not in skipped):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = Path(path).parts[: -node.level] if node.level else ()
            module = '.'.join([*package, *([node.module] if node.module else [])])
            names |= {module, *(f'{module}.{alias.name}' for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('import_module'):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return names


def imported_files(root: Path, path: str) -> set[str]:
    """Files of the tree that a file imports; a package stands for its __init__.py if a name of it is imported."""
    names, found = imported_modules(root, path), set()
    # scripts import their neighbours by bare names
    bases = ('', f'{Path(path).parent.as_posix()}/') if path.startswith('scripts/') else ('',)
    for name in names:
        for base in bases:
            target = base + name.replace('.', '/')
            if (root / f'{target}.py').is_file():
                found.add(f'{target}.py')
            elif (root / target / '__init__.py').is_file() and _takes_a_name(root, target, name, names):
                found.add(f'{target}/__init__.py')
    return found


def _takes_a_name(root, package, name, names) -> bool:
    """Whether a package is imported for itself or for a name in its __init__.py, not only on the way to a module."""
    inner = [each.removeprefix(f'{name}.') for each in names if each.startswith(f'{name}.')]
    return not inner or any(
        '.' not in each and not (root / package / f'{each}.py').is_file() and not (root / package / each).is_dir()
        for each in inner
    )


def unresolved_imports(root: Path) -> list[str]:
    """Imports, anywhere in a file, of a module or a name of this tree that does not exist."""
    found = []
    for path in python_files(root):
        for node in ast.walk(parse(root, path)):
            if isinstance(node, ast.Import):
                wanted = [(alias.name, '') for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                wanted = [(node.module, alias.name) for alias in node.names]
            else:
                continue
            for module, name in wanted:
                if module.split('.')[0] in PACKAGES and not _exists(root, module, name):
                    found.append(f'{path}:{node.lineno}: {module}{name and "."}{name} does not exist')
    return found


def _exists(root: Path, module: str, name: str) -> bool:
    target = module.replace('.', '/')
    if (root / target).is_dir():
        if not name or (root / target / name).is_dir() or (root / target / f'{name}.py').is_file():
            return True
        target += '/__init__'
    return (root / f'{target}.py').is_file() and (not name or name in _defined_names(parse(root, f'{target}.py')))


def _defined_names(tree: ast.Module) -> set[str]:
    """Names that a module binds at its top level, in branches and loops too."""
    names, todo = set(), list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
        else:
            names |= {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
            todo += ast.iter_child_nodes(node)
    return names


def import_circles(root: Path) -> list[str]:
    """Groups of files that import one another, directly or through others."""
    graph = {path: imported_files(root, path) - {path} for path in python_files(root)}
    reached = {path: _reachable(graph, path) for path in graph}
    groups = {frozenset({path} | {o for o in reached[path] if path in reached[o]}) for path in graph}
    return sorted(' <-> '.join(sorted(group)) for group in groups if len(group) > 1)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found, todo = set(), list(graph[start])
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += graph.get(path, ())
    return found


def model_violations(root: Path) -> list[str]:
    """Imports between models/ and utils/, and of models/fast/, that the second floor forbids."""
    found = []
    for path in python_files(root, 'models') + python_files(root, 'utils'):
        for target in sorted(imported_files(root, path) - FREE_FOR_ALL):
            is_fast = target.startswith('models/fast/') or target == 'models/cells.py'
            if (
                (path.startswith('models/') and target.startswith('utils/'))
                or (path.startswith('models/fast/') and target.startswith('models/') and not is_fast)
                or (path.startswith('utils/') and target.startswith('models/') and path not in USES_MODELS)
            ):
                found.append(f'{path} imports {target}')
    return found


def room_violations(root: Path) -> list[str]:
    """Imports from one room of utils/ into another that the third floor forbids, and of a room that is one script's."""
    found = [
        f'{path} imports {target}'
        for room, forbidden in FORBIDDEN.items()
        for path in python_files(root, room)
        for target in sorted(imported_files(root, path))
        if target.startswith(forbidden)
    ]
    for room, script in ONLY_FOR.items():
        others = [path for path in python_files(root) if not path.startswith((room, 'tests/')) and path != script]
        found += [
            f'{path} imports {target}'
            for path in others
            for target in sorted(imported_files(root, path))
            if target.startswith(room)
        ]
    return found


def tensorflow_violations(root: Path) -> list[str]:
    """Files without TensorFlow by the third floor that import it, or the pipeline, which does."""
    found = []
    for path in [*python_files(root, 'utils'), *sorted(FREE_FOR_ALL)]:
        if not path.startswith(USES_TENSORFLOW) and (root / path).is_file():
            names = imported_modules(root, path)
            found += [f'{path} imports {name}' for name in sorted(names) if name.split('.')[0] == 'tensorflow']
            found += [f'{path} imports {name}' for name in sorted(names) if name == 'utils.data.pipeline']
    return found


def script_violations(root: Path) -> list[str]:
    """Imports of root scripts, by anything but tests, and of test modules by others."""
    found = []
    for path in python_files(root):
        is_test = path.startswith('tests/')
        for target in sorted(imported_files(root, path) - {path}):
            imports_script = target in SCRIPTS and not is_test and (path, target) not in SCRIPT_IMPORTS
            imports_test = target.startswith('tests/') and (not is_test or Path(target).name.startswith('test_'))
            if imports_script or imports_test:
                found.append(f'{path} imports {target}')
    return found


def num_lines(root: Path, path: str) -> int:
    return len((root / path).read_text().splitlines())


def product_files(root: Path) -> list[str]:
    """The files that budgets count: root scripts, models/ and utils/."""
    roots = [path for path in python_files(root) if '/' not in path]
    return roots + python_files(root, 'models') + python_files(root, 'utils')


def budget_violations(root: Path) -> list[str]:
    """Rooms with more lines than their budget and a tenth, or without a budget."""
    lines = Counter()
    for path in product_files(root):
        lines[Path(path).parent.as_posix()] += num_lines(root, path)
    return [
        f'{room}: {lines[room]} lines, budget {BUDGETS.get(room, 0)} and a tenth'
        for room in sorted(lines)
        if lines[room] > BUDGETS.get(room, 0) * 1.1 + sum(GROWTH.get(room, {}).values())
    ]


def reading_path(root: Path) -> list[str]:
    """Files of the reading path, those that are missing too."""
    models = [path for path in python_files(root, 'models') if not path.startswith(('models/fast/', LIVE_MODEL))]
    return list(dict.fromkeys(each for path in READING_PATH for each in (models if '*' in path else [path])))


def reading_path_violations(root: Path) -> list[str]:
    """Files of the reading path that are missing, or too many lines of it."""
    paths = reading_path(root)
    missing = [f'{path} is missing' for path in paths if not (root / path).is_file()]
    lines = sum(num_lines(root, path) for path in paths if (root / path).is_file())
    too_long = [f'the reading path has {lines} lines'] if lines > READING_PATH_LINES else []
    return missing + too_long


def size_violations(root: Path) -> list[str]:
    """Files and functions that are too long, and files that do not say in a docstring what they hold."""
    found = []
    for path in product_files(root) + python_files(root, 'scripts'):
        tree = parse(root, path)
        if num_lines(root, path) > FILE_LINES:
            found.append(f'{path}: {num_lines(root, path)} lines')
        if tree.body and not ast.get_docstring(tree):
            found.append(f'{path}: no docstring')
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f'{path}: {node.name} has {lines} lines')
    return found


def prose_violations(root: Path) -> list[str]:
    """Module docstrings that open with a question word instead of the noun that the module holds."""
    found = []
    for path in python_files(root):
        docstring = ast.get_docstring(parse(root, path)) or ''
        if QUESTION.match(docstring):
            found.append(f'{path}: {docstring.splitlines()[0]}')
    return found


def option_violations(root: Path) -> list[str]:
    """Flags of the training and decoding commands that models/ and utils/ declare at more than one place."""
    places: dict[str, list[str]] = {}
    for path in python_files(root, 'models') + python_files(root, 'utils'):
        if path not in OWN_PARSER:
            for flag, line in _declared_flags(parse(root, path)):
                places.setdefault(flag, []).append(f'{path}:{line}')
    return [f'{flag}: {", ".join(where)}' for flag, where in sorted(places.items()) if len(where) > 1]


def _declared_flags(tree: ast.Module) -> list[tuple[str, int]]:
    """(flag, line) of each call that has a flag or more and a help text; a field without a long flag names one."""
    found = []
    for node in ast.walk(tree):
        field = node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ''
        call = node.value if field else node
        if isinstance(call, ast.Call) and any(keyword.arg == 'help' for keyword in call.keywords):
            strings = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            flags = [text for text in strings if text.startswith('-')]
            if field and not any(flag.startswith('--') for flag in flags):
                found.append((f'--{field}', call.lineno))
            elif not field:
                found += [(flag, call.lineno) for flag in flags]
    return found
