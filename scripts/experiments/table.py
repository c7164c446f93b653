"""Tables of experiments: TOML files with the flags of a base training, and the rows that change them."""

import contextlib
import io
import os
import re
import shlex
import string
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from utils.config import parse_train_flags
from utils.errors import UsageError

NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')
_FLAG = re.compile(r'-[A-Za-z-]')
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Struct(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    pass


class Features(_Struct):
    """A set of features.

    Attributes:
      train, dev: indexes, as the flags -t and -d take them; ``$DIR`` stands for the directory of the set.
      make: commands that write these indexes: a script of this project and its arguments. They run where an index is
        missing.
      directory: directory of the set; empty: ``RUNS/features/NAME``.
    """

    train: Annotated[list[str], msgspec.Meta(min_length=1)]
    dev: Annotated[list[str], msgspec.Meta(min_length=1)]
    make: list[str] = []
    directory: str = ''


class LanguageModel(_Struct):
    """A language model of train_lm.py; without `texts` it is trained on the row's training indexes."""

    unit: str
    order: int
    texts: list[str] = []


class Decoding(_Struct):
    """A way to decode: flags of run_test.py, a language model, and flags of tune_lm.py (absent: not tuned)."""

    name: str
    flags: str = ''
    lm: LanguageModel | None = None
    tune: str | None = None


class Row(_Struct):
    """A row: what it changes in the base training.

    Attributes:
      name: name of the row and of its directory.
      flags: flags of run_train.py that are added to those of the table or replace them.
      without: flags of the table that the row lacks, with their values.
      features: name of the set of features; empty: that of the table.
      copy_of: an earlier row; its finished run is copied, and resumed with the row's flags.
      init_from: an earlier row; the training begins with its weights (--init_from).
      test: flags added to all decodings, such as ``--checkpoint average``.
      decodings: names of the decodings of the row; None: all of the table.
      note: text for the reader, beside the flags.
      paper: finding of a paper, for comparison.
      x: place of the row on the horizontal axis, in a table whose rows are the points of a curve.
    """

    name: str
    flags: str = ''
    without: list[str] = []
    features: str = ''
    copy_of: str = ''
    init_from: str = ''
    test: str = ''
    decodings: list[str] | None = None
    note: str = ''
    paper: str = ''
    x: _Positive | None = None

    @property
    def source(self) -> str:
        """Name of the row whose run must be finished first; empty: none."""
        return self.copy_of or self.init_from


class _File(_Struct):
    train: str
    features: str
    sets: dict[str, Features]
    rows: Annotated[list[Row], msgspec.Meta(min_length=1)]
    minutes: _Positive
    title: str = ''
    seeds: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(min_length=1)] = (1,)
    paths: dict[str, str] = {}
    decodings: Annotated[tuple[Decoding, ...], msgspec.Meta(min_length=1)] = (Decoding('default'),)
    x_label: str = ''


@dataclass(frozen=True)
class Table:
    """A table of experiments; the first row is the base with which the others are compared.

    Attributes:
      path: TOML file.
      file: its contents; see `Row`, `Features` and `Decoding`.
    """

    path: Path
    file: _File

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'Table':
        """Reads and checks a table.

        Raises:
          UsageError: the file is no TOML, has unknown or missing fields, or names rows, sets or decodings that are
            not there.
          OSError: the file cannot be read.
        """
        try:
            table = cls(Path(path), msgspec.convert(tomllib.loads(Path(path).read_text('utf-8')), _File))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            reason = str(error).replace('`', "'")
            remedy = 'see scripts/experiments/README.md'
            raise UsageError(f'{path}: not a table of experiments ({reason}); {remedy}') from None
        for complaint in table._complaints():
            raise UsageError(f'{path}: {complaint}')
        return table

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def base(self) -> Row:
        return self.file.rows[0]

    @property
    def is_curve(self) -> bool:
        """Whether the rows are points of a curve."""
        return all(row.x is not None for row in self.file.rows)

    def features_name(self, row: Row) -> str:
        return row.features or self.file.features

    def features(self, row: Row) -> Features:
        return self.file.sets[self.features_name(row)]

    def decodings(self, row: Row) -> list[Decoding]:
        return [each for each in self.file.decodings if row.decodings is None or each.name in row.decodings]

    def flags(self, row: Row) -> list[str]:
        """Flags of run_train.py for a row, without indexes, seed and run directory; variables are not expanded."""
        return remove_flags(shlex.split(self.file.train), row.without) + shlex.split(row.flags)

    def definition(self, row: Row) -> dict[str, Any]:
        """All that the weights of a row depend on, as JSON."""
        features = msgspec.to_builtins(self.features(row))
        del features['directory']
        return {'flags': self.flags(row), 'features': features, 'copy_of': row.copy_of, 'init_from': row.init_from}

    def decoding_definition(self, row: Row, decoding: Decoding) -> dict[str, Any]:
        """All that the texts of a row and a decoding depend on besides the weights, as JSON."""
        return {**msgspec.to_builtins(decoding), 'test': row.test}

    def select(self, names: Sequence[str] | None) -> list[Row]:
        """Rows with these names, and those that they start from, in the order of the table; None: all rows.

        Raises:
          UsageError: a name that the table lacks.
        """
        rows = {row.name: row for row in self.file.rows}
        for name in names or ():
            if name not in rows:
                raise UsageError(f'--rows {name}: {self.path} has no such row; it has {", ".join(rows)}')
        wanted = set(rows if names is None else names)
        for row in reversed(self.file.rows):
            if row.name in wanted and row.source:
                wanted.add(row.source)
        return [row for row in self.file.rows if row.name in wanted]

    def expand(self, text: str, **values: str) -> str:
        """The text with ``$NAME`` replaced: by `values`, the environment, or the table's own paths.

        Raises:
          UsageError: a variable that nothing sets.
        """
        known = {**os.environ, **values}
        for name, default in self.file.paths.items():
            known.setdefault(name, '')
            known[name] = known[name] or string.Template(default).safe_substitute(known)
        try:
            return string.Template(text).substitute(known)
        except (KeyError, ValueError) as error:
            where, remedy = f'{self.path}: {text!r}', 'set it, or add it to [paths]'
            raise UsageError(f'{where} names a variable that is not set ({error}); {remedy}') from None

    def split(self, text: str, **values: str) -> list[str]:
        """Arguments of a command line, variables expanded; a value with spaces stays one argument."""
        return [self.expand(each, **values) for each in shlex.split(text)]

    def check_flags(self, rows: Sequence[Row]) -> None:
        """Parses the training flags of the rows, so that a wrong one is found before the first training.

        Raises:
          UsageError: names the row.
        """
        for row in rows:
            message = io.StringIO()
            flags = [self.expand(flag, SEED='1') for flag in self.flags(row)]
            try:
                with contextlib.redirect_stderr(message):
                    parse_train_flags([*flags, '-t', 'train', '-d', 'dev', '-s', 'run'])
            except (SystemExit, UsageError) as error:
                text = message.getvalue() or f'error: {error}'
                raise UsageError(f'{self.path} row {row.name}: {text.strip().removeprefix("error: ")}') from None

    def _complaints(self) -> list[str]:
        """Descriptions of names that are not there, not unique or no names of directories."""
        file, found = self.file, []
        if file.features not in file.sets:
            found.append(f'features = {file.features!r}, but there is no [sets.{file.features}]')
        for what, names in (
            ('row', [row.name for row in file.rows]),
            ('decoding', [each.name for each in file.decodings]),
            ('set', list(file.sets)),
        ):
            bad = [name for name in names if not NAME.fullmatch(name) or (what, name) == ('row', 'features')]
            found += [f'{what} {name!r}: give another name, of letters, digits, ._-' for name in bad]
            found += [f'two of {what} {name}' for name in sorted({name for name in names if names.count(name) > 1})]
        decodings = {each.name for each in file.decodings}
        for number, row in enumerate(file.rows):
            earlier = {each.name for each in file.rows[:number]}
            missing = [(row.features, {*file.sets, ''}, 'set'), (row.source, {*earlier, ''}, 'earlier row')]
            missing += [(name, decodings, 'decoding') for name in row.decodings or ()]
            complaints = [f'there is no {what} {name!r}' for name, known, what in missing if name not in known]
            found += [f'row {row.name}: {complaint}' for complaint in complaints]
            if row.copy_of and row.init_from:
                found.append(f'row {row.name}: copy_of and init_from; leave one of them out')
            if any(flag in shlex.split(f'{file.train} {row.flags}') for flag in ('-s', '-t', '-d', '--seed')):
                found.append(f'row {row.name}: -s, -t, -d and --seed are given by the runner; leave them out')
        if any(row.x is not None for row in file.rows) and not (self.is_curve and file.x_label):
            found.append('x: give it to all rows, and x_label to the table')
        return found


def remove_flags(flags: Sequence[str], names: Collection[str]) -> list[str]:
    """The flags without those named and their values."""
    kept, is_kept = [], True
    for each in flags:
        if _FLAG.match(each):
            is_kept = each not in names
        if is_kept:
            kept.append(each)
    return kept
