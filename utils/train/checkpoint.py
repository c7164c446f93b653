"""Checkpoints of a run: the newest few, the best, and the average of the last epochs.

`RUN_DIR/checkpoints/model-STEP.{index,data-*}` holds the variables and `model-STEP.json` the training state. The JSON
is written last and atomically: a checkpoint without it is incomplete and ignored. `average-STEP` holds the mean of the
last epochs' weights, and `best.json` names the best checkpoint of all.
"""

import dataclasses
import json
import logging
import math
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import tensorflow.compat.v1 as tf

from utils.errors import DataError
from utils.files import read_json, write_text
from utils.pack.archive import find_packed
from utils.train.checkpoint_files import LEFT, NAME, PART, check_readable, find_files, writing

log = logging.getLogger(__name__)


Natural = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


@dataclasses.dataclass
class TrainState:
    """Training state: with the variables, all that a run needs to resume."""

    step: Natural = 0  # updates
    epoch: Natural = 0  # number of the current epoch or, between two, of the next
    batch: Natural = 0  # its batches that are done
    loss_sum: float = 0.0  # of the epoch so far
    loss_count: Natural = 0  # utterances in it
    seconds: float = 0.0  # training time of the run, without validation
    epoch_seconds: float = 0.0  # training time of the epoch so far
    epoch_wait_seconds: float = 0.0  # part of it in which the steps waited for their batches
    utterances: Natural = 0  # utterances of the epoch so far
    progress: dict[str, float] = dataclasses.field(default_factory=dict)  # for the next record: train_loss, …
    plan: list = dataclasses.field(default_factory=list)  # options that determine the batch plan
    validated: bool = True  # whether dev has been scored at this step
    # (epoch, batch of its share) of each worker of a cluster
    shares: list[tuple[Natural, Natural]] = dataclasses.field(default_factory=list)
    plateau_scale: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0  # factor on the learning rate, of that schedule
    stale_epochs: Natural = 0  # epochs since dev last improved
    has_learned: bool = True  # whether a step had a finite loss and gradient; True in states of older versions


@dataclasses.dataclass(frozen=True)
class Best:
    """The contents of best.json: the name of a checkpoint, its scores on dev, and that set's fingerprint."""

    name: Annotated[str, msgspec.Meta(pattern=r'^(model|average)-[0-9]{1,15}\Z')]
    error: float
    dev_loss: float
    wer: float | None = None
    cer: float | None = None
    repeating: int | None = None
    without_loss: int | None = None
    dev: str = ''


def _rank(scores: dict) -> tuple[float, float]:
    return scores['error'], scores['dev_loss']


class Checkpoints:
    """Checkpoint directory of one run, or the checkpoint of a packed run, which is only read."""

    def __init__(self, run_dir: str, keep_newest: int = 5, keep_epochs: int = 5):
        """Keeps the `keep_newest` newest checkpoints, the last `keep_epochs` epoch ends, and the best."""
        self.directory, self._packed = Path(run_dir) / 'checkpoints', find_packed(run_dir)
        self._tensorflow_dir = self.directory
        # TensorFlow takes a path to restore from for a pattern
        if not self._packed and set('[\\') & set(str(self.directory)):
            self._link = tempfile.TemporaryDirectory()
            self._tensorflow_dir = Path(self._link.name) / 'checkpoints'
            self._tensorflow_dir.symlink_to(self.directory.absolute())
        self._keep_newest, self._keep_epochs = keep_newest, keep_epochs
        self._written: set[str] = set()

    def prefix(self, name: str) -> str:
        """Returns the path of a checkpoint as tf.train.Saver takes it."""
        return str(self._tensorflow_dir / name)

    def steps(self) -> list[int]:
        """Returns the steps that have a complete checkpoint, oldest first."""
        names = (path.stem for path in self.directory.glob('model-*.json'))
        steps = sorted(int(name.removeprefix('model-')) for name in names if NAME.fullmatch(name))
        return [step for step in steps if Path(self.prefix(f'model-{step}.index')).exists()]

    def newest_sound(self) -> TrainState | None:
        """Returns the state of the newest checkpoint that can be read, or None if there are none.

        Damaged newer ones get other names; it is a `DataError` if all are damaged.
        """
        damaged: list[tuple[str, str]] = []
        for step in reversed(self.steps()):
            name = f'model-{step}'
            try:
                check_readable(self.prefix(name))
                state = self.state(step)
            except DataError as error:
                damaged.append((name, str(error).partition(';')[0]))
                continue
            for other, reason in damaged:
                log.warning('%s; kept as damaged-%s.*, resuming from %s', reason, other, name)
                for path in find_files(self.directory, PART, other):
                    path.rename(path.with_name(f'damaged-{path.name}'))
            return state
        if damaged:
            raise DataError(f'{damaged[0][1]}; there is no other to resume from: restore it, or start new with -r no')
        return None

    def save(self, session: tf.Session, saver: tf.train.Saver, state: TrainState) -> str:
        """Saves variables and state, and removes old checkpoints; returns the name of the new one.

        Raises:
          DataError: the disk is full or not writable; earlier checkpoints stay.
        """
        name = f'model-{state.step}'
        with writing(self.directory / name):
            self.directory.mkdir(parents=True, exist_ok=True)
            saver.save(session, self.prefix(name), write_meta_graph=False, write_state=False)
            self.note(state)
        self._written.add(name)
        self._forget_old()
        return name

    def note(self, state: TrainState) -> None:
        """Writes the training state of a checkpoint whose variables are saved."""
        write_text(self.directory / f'model-{state.step}.json', json.dumps(dataclasses.asdict(state)) + '\n')

    def state(self, step: int) -> TrainState:
        """Reads the training state of a saved step; a damaged file is a `DataError`."""
        path = self.directory / f'model-{step}.json'
        remedy = f'remove model-{step}.*: the run then resumes from the checkpoint before it'
        state = read_json(path, TrainState, 'a training state', remedy)
        if state.step != step:
            raise DataError(f'{path}: the state of step {state.step}; {remedy}')
        return state

    def best(self) -> dict | None:
        """Returns the `name` and the scores of the best checkpoint so far, or None."""
        path = self.directory / 'best.json'
        what, remedy = 'the name of a checkpoint and its scores', 'remove it, or name another with --checkpoint'
        best = vars(read_json(path, Best, what, remedy)) if path.exists() else None
        return best if best and Path(self.prefix(f'{best["name"]}.index')).exists() else None

    def note_best(self, name: str, scores: dict, dev: str = '') -> bool:
        """Records a checkpoint as the best if its `error`, or at equal error its `dev_loss`, is lower.

        One whose scores are not numbers is never the best. `dev` is the fingerprint of the dev set.
        """
        best = self.best()
        is_better = not best or best['name'] == name or _rank(scores) < _rank(best)
        is_best = is_better and not any(map(math.isnan, _rank(scores)))
        if is_best:
            write_text(self.directory / 'best.json', json.dumps({'name': name, 'dev': dev, **scores}) + '\n')
        return is_best

    def resolve(self, which: str, option: str = '--checkpoint') -> str:
        """Returns the name of the `best`, `latest` or `average` checkpoint; another name is returned if it is there.

        Raises:
          DataError: there is no such checkpoint.
        """
        if self._packed:
            return self._packed.resolve(which, option)
        names = {
            'best': (self.best() or {}).get('name'),
            'latest': f'model-{self.steps()[-1]}' if self.steps() else None,
            'average': max(self._averages(), key=lambda name: int(name.split('-')[1]), default=None),
        }
        name = names.get(which, which if NAME.fullmatch(which) else None)
        if name is None or not Path(self.prefix(f'{name}.index')).exists():
            raise DataError(
                f'{self.directory}: no {which} checkpoint; train first, or choose another with {option}'
            )
        return name

    def epoch_ends(self) -> list[int]:
        """Returns the steps of the checkpoints that were saved at the end of an epoch, oldest first."""
        return [step for step in self.steps() if self.state(step).batch == 0 and step]

    def average(self, num_epochs: int, variables: list[str]) -> str | None:
        """Saves the mean of the last epochs' weights; returns its name, or None with fewer than two epochs.

        Args:
          num_epochs: largest number of epochs.
          variables: names of the variables that inference needs.
        """
        steps = self.epoch_ends()[-num_epochs:] if num_epochs else []
        if len(steps) < 2:
            return None
        for step in steps:
            check_readable(self.prefix(f'model-{step}'))
        readers = [tf.train.load_checkpoint(self.prefix(f'model-{step}')) for step in steps]
        means = {
            name: np.mean([reader.get_tensor(name) for reader in readers], axis=0, dtype=np.float64).astype(np.float32)
            for name in variables
        }
        with tf.Graph().as_default(), tf.Session() as session:
            holders = {name: tf.get_variable(name, initializer=value) for name, value in means.items()}
            session.run(tf.global_variables_initializer())
            saver = tf.train.Saver(holders)
            name = f'average-{steps[-1]}'
            with writing(self.directory / name):
                saver.save(session, self.prefix(name), write_meta_graph=False, write_state=False)
        self._written.add(name)
        for old in self._averages():
            if old not in (name, (self.best() or {}).get('name')):
                self._remove(old)
        return name

    def _averages(self) -> list[str]:
        names = (path.stem for path in self.directory.glob('average-*.index'))
        return [name for name in names if NAME.fullmatch(name)]

    def clean(self) -> None:
        """Removes what killed processes have left of incomplete checkpoints; a linked directory is left as it is."""
        if self.directory.is_symlink():
            return
        whole = {f'model-{step}' for step in self.steps()} | {*self._averages()}
        parts = [path for path in find_files(self.directory, PART) if path.stem not in whole]
        for path in parts + find_files(self.directory, LEFT):
            log.info('%s: removed, a part of an incomplete checkpoint', path)
            path.unlink()

    def _forget_old(self) -> None:
        steps = self.steps()
        kept = {*steps[-self._keep_newest :], *self.epoch_ends()[-max(self._keep_epochs, 1) :]}
        best = (self.best() or {}).get('name')
        for step in steps:
            if step not in kept and f'model-{step}' != best:
                self._remove(f'model-{step}')

    def _remove(self, name: str) -> None:
        if self.directory.is_symlink() and name not in self._written:  # it may be somebody else's
            return
        # the JSON goes first: without it the rest is not a checkpoint
        for path in sorted(find_files(self.directory, PART, name), key=lambda path: path.suffix != '.json'):
            path.unlink(missing_ok=True)
