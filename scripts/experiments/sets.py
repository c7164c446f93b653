"""Sets of features of a table: their indexes, made by the preprocessing commands where one is missing."""

import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.experiments.table import Row, Table
from utils.errors import DataError
from utils.files import write_text

log = logging.getLogger(__name__)


class FeatureSets:
    """The sets of a table, in ``RUNS/features/NAME`` or in directories of their own."""

    def __init__(self, table: Table, runs_dir: Path):
        self._table, self._runs_dir = table, runs_dir

    def indexes(self, row: Row, which: str) -> list[str]:
        """Paths of the `train` or `dev` indexes of a row."""
        name = self._table.features_name(row)
        return self._split_all(name, getattr(self._table.file.sets[name], which))

    def check(self, rows: Sequence[Row]) -> None:
        """Expands what the rows need, so that a variable that is not set is a `UsageError` before any work."""
        for name in {self._table.features_name(row) for row in rows}:
            if self._missing(name):
                self._split_all(name, self._table.file.sets[name].make)

    def _missing(self, name: str) -> list[str]:
        features = self._table.file.sets[name]
        return [path for path in self._split_all(name, [*features.train, *features.dev]) if not os.path.exists(path)]

    def make(self, name: str, run: Callable[[Sequence[str], Path], str]) -> None:
        """Makes the indexes of a set unless all of them exist.

        Args:
          name: name of the set.
          run: runs a command and appends its output to a log; returns its fault, or an empty text.

        Raises:
          DataError: an index is still missing, or the set was made by other commands.
        """
        features, directory = self._table.file.sets[name], self._directory(name)
        made, log_path = (self._runs_dir / 'features' / f'{name}.{kind}' for kind in ('txt', 'log'))
        made.parent.mkdir(parents=True, exist_ok=True)
        with open(made.with_suffix('.lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run.py may be making them
            text = ''.join(f'{command}\n' for command in features.make)
            if made.exists() and made.read_text() != text:
                raise DataError(f'made by other commands before ({made}); give the set another name, or remove it')
            write_text(made, text)
            if not self._missing(name):
                return
            directory.mkdir(parents=True, exist_ok=True)
            for command in features.make:
                log.info('features %s: %s', name, command)
                if fault := run(self._split_all(name, [command]), log_path):
                    log.warning('features %s: %s', name, fault)  # the index may lack some utterances
            for path in self._missing(name):
                raise DataError(f'{path} is missing after all commands of [sets.{name}]; see {log_path}')

    def _directory(self, name: str) -> Path:
        given = self._table.file.sets[name].directory
        return Path(self._table.expand(given)) if given else self._runs_dir / 'features' / name

    def _split_all(self, name: str, texts: Sequence[str]) -> list[str]:
        directory = str(self._directory(name))
        return [each for text in texts for each in self._table.split(text, DIR=directory)]
