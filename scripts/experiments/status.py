"""Records of a row's runs: its definition, and the state of each seed."""

import contextlib
import fcntl
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from scripts.experiments.table import Row, Table
from utils.errors import DataError, UsageError
from utils.files import read_json, write_text

NEW, BEGUN, TRAINED, FAILED, STOPPED, LIMIT = 'not run', 'begun', 'trained', 'failed', 'interrupted', 'time limit'
_REMEDY = 'remove it, or the directory, to train again'


class Status(msgspec.Struct, forbid_unknown_fields=True):
    """State of a row and seed, kept in ``status.json``.

    Attributes:
      state: `NEW`, `BEGUN`, `TRAINED`, `FAILED`, `STOPPED` or `LIMIT`.
      reason: fault of a training or test that failed.
      seconds: wall-clock time of the training, with its validations and the parts of it that were interrupted.
      tested: definition of each finished decoding by name.
      commit, machine, versions: where the training ended.
    """

    state: str = NEW
    reason: str = ''
    seconds: float = 0.0
    tested: dict[str, dict[str, Any]] = {}
    commit: str = ''
    machine: str = ''
    versions: str = ''


class Place:
    """Directory of a row and seed, ``RUNS/ROW/seed-SEED``."""

    def __init__(self, runs_dir: Path, row: str, seed: int):
        self.row, self.seed = row, seed
        self.directory = runs_dir / row / f'seed-{seed}'
        self.run_dir, self.log_path = self.directory / 'run', self.directory / 'log.txt'
        self._path = self.directory / 'status.json'

    def __str__(self) -> str:
        return f'{self.row} seed {self.seed}'

    def read(self) -> Status:
        """The status; a new one where nothing was run yet.

        Raises:
          DataError: the file is damaged.
        """
        return read_json(self._path, Status, 'a status', _REMEDY) if self._path.exists() else Status()

    def write(self, status: Status) -> None:
        write_text(self._path, json.dumps(msgspec.to_builtins(status), indent=1) + '\n')

    def hypotheses(self, decoding: str, index: str) -> Path:
        return self.directory / 'test' / decoding / index / 'hypotheses.json'

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the directory for the body; a `DataError` where another process works there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / '.lock', 'w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f'{self.directory}: another run.py works there; wait for its end') from None
            yield


def check_definition(table: Table, row: Row, runs_dir: Path) -> str:
    """Complaint where a row's directory holds runs of other flags; empty: it is new, or the same.

    Raises:
      DataError: the record is damaged.
    """
    path = runs_dir / row.name / 'row.json'
    if not path.exists():
        return ''
    old, new = read_json(path, dict[str, Any], 'the definition of a row', _REMEDY), table.definition(row)
    changes = [name for name in new if old.get(name) != new[name]]
    if not changes:
        return ''
    name = changes[0]
    was, now = (_text(each.get(name), other.get(name)) for each, other in ((old, new), (new, old)))
    return (
        f'{table.path} row {row.name}: its {name} have changed since {path.parent} was trained, from {was} to {now}; '
        f'give the row another name, or remove that directory'
    )


def _text(value: Any, other: Any) -> str:
    """A value as text; of flags those that the other value lacks."""
    if isinstance(value, list) and isinstance(other, list):
        start = next((i for i, pair in enumerate(zip(value, other, strict=False)) if pair[0] != pair[1]), 0)
        return f'"{shlex.join(value[max(0, start - 1):])}"'
    return json.dumps(value)


def write_definition(table: Table, row: Row, runs_dir: Path) -> None:
    """Records the definition of a row before its first training.

    Raises:
      UsageError: the directory holds something else.
    """
    path = runs_dir / row.name / 'row.json'
    if path.exists():
        return
    if path.parent.exists() and any(path.parent.iterdir()):
        raise UsageError(f'{path.parent} is not empty and holds no row; give another --runs, or rename the row')
    write_text(path, json.dumps(table.definition(row), indent=1) + '\n')
