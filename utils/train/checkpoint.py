"""The checkpoints of a run: the newest few, the best, and the average of the last epochs.

`RUN_DIR/checkpoints/model-STEP.{index,data-*}` holds the variables and `model-STEP.json` where the run stood. The JSON
is written last and at once, so a checkpoint without it was cut off and does not count. `average-STEP` holds the mean of
the last epochs' weights, and `best.json` names the best of all.
"""

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from utils.errors import DataError
from utils.files import write_text

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r'model-(\d+)\.json')
_AVERAGE = re.compile(r'average-(\d+)\.index')


@dataclasses.dataclass
class TrainState:
    """Where a run stands; with the variables, all that it needs to go on.

    Attributes:
      step: updates so far.
      epoch: number of the epoch that comes next, or is under way.
      batch: batches of it that are done.
      loss_sum, loss_count: over the utterances of the epoch so far.
      seconds: of training so far, validation not counted.
      epoch_seconds: of the epoch so far.
      epoch_wait_seconds: of these, what the steps waited for their batches.
      utterances: seen in the epoch so far.
      progress: what the next validation notes about training: train_loss, learning_rate, …
      plan: what the batch plan was made from.
      validated: whether dev has been scored at this point.
      shares: (epoch, batch of its share) of each worker, where there are several.
      plateau_scale, stale_epochs: of the plateau schedule and early stopping.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_wait_seconds: float = 0.0
    utterances: int = 0
    progress: dict = dataclasses.field(default_factory=dict)
    plan: list = dataclasses.field(default_factory=list)
    validated: bool = True
    shares: list = dataclasses.field(default_factory=list)
    plateau_scale: float = 1.0
    stale_epochs: int = 0


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turns a failed save into a `DataError`; what there is of the file goes, earlier checkpoints stay."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        for part in Path(path).parent.glob(f'{Path(path).name}.*'):
            part.unlink(missing_ok=True)
        reason = str(getattr(error, 'message', error)).splitlines()[0]
        raise DataError(
            f'{path}: cannot be written ({reason}); free some space and run the same command again: '
            f'it goes on from the newest checkpoint'
        ) from None


def _rank(scores: dict) -> tuple[float, float]:
    return scores['error'], scores['dev_loss']


class Checkpoints:
    """The checkpoint directory of one run."""

    def __init__(self, run_dir: str, keep_newest: int = 5, keep_epochs: int = 5):
        """Keeps the `keep_newest` newest checkpoints, the last `keep_epochs` epoch ends, and the best."""
        self.directory = Path(run_dir) / 'checkpoints'
        self._keep_newest, self._keep_epochs = keep_newest, keep_epochs

    def prefix(self, name: str) -> str:
        """The path that tf.train.Saver takes."""
        return str(self.directory / name)

    def steps(self) -> list[int]:
        """Steps with a whole checkpoint, oldest first."""
        found = (_NUMBERED.fullmatch(path.name) for path in self.directory.glob('model-*.json'))
        steps = sorted(int(match[1]) for match in found if match)
        return [step for step in steps if Path(self.prefix(f'model-{step}.index')).exists()]

    def newest(self) -> str | None:
        """The path of the newest checkpoint, where there is one."""
        steps = self.steps()
        return self.prefix(f'model-{steps[-1]}') if steps else None

    def save(self, session: tf.Session, saver: tf.train.Saver, state: TrainState) -> str:
        """Saves variables and state, forgets old checkpoints; returns the name of the new one.

        Raises:
          DataError: the disk is full or not writable; earlier checkpoints stay.
        """
        name = f'model-{state.step}'
        with _writing(self.prefix(name)):
            self.directory.mkdir(parents=True, exist_ok=True)
            saver.save(session, self.prefix(name), write_meta_graph=False, write_state=False)
            self.note(state)
        self._forget_old()
        return name

    def note(self, state: TrainState) -> None:
        """Writes the state of a checkpoint whose variables are saved."""
        write_text(self.prefix(f'model-{state.step}.json'), json.dumps(dataclasses.asdict(state)) + '\n')

    def state(self, step: int) -> TrainState:
        """The state of a saved step."""
        return TrainState(**json.loads(Path(self.prefix(f'model-{step}.json')).read_text()))

    def best(self) -> dict | None:
        """The best checkpoint so far: its `name`, `score`, and what else was noted."""
        path = self.directory / 'best.json'
        return json.loads(path.read_text()) if path.exists() else None

    def note_best(self, name: str, scores: dict) -> bool:
        """Takes a checkpoint for the best if its `error`, or at the same error its `dev_loss`, is below the best's."""
        best = self.best()
        is_best = not best or best['name'] == name or _rank(scores) < _rank(best)
        if is_best:
            write_text(self.directory / 'best.json', json.dumps({'name': name, **scores}) + '\n')
        return is_best

    def resolve(self, which: str) -> str:
        """The name of the `best`, `latest` or `average` checkpoint.

        Raises:
          DataError: there is none.
        """
        names = {
            'best': (self.best() or {}).get('name'),
            'latest': f'model-{self.steps()[-1]}' if self.steps() else None,
            'average': max(self._averages(), key=lambda name: int(name.split('-')[1]), default=None),
        }
        name = names[which]
        if name is None or not Path(self.prefix(f'{name}.index')).exists():
            raise DataError(
                f'{self.directory}: no {which} checkpoint; train first, or choose another with --checkpoint'
            )
        return name

    def epoch_ends(self) -> list[int]:
        """Steps of the saved checkpoints that stand at the end of an epoch, oldest first."""
        return [step for step in self.steps() if self.state(step).batch == 0 and step]

    def average(self, num_epochs: int, variables: list[str]) -> str | None:
        """Saves the mean of the last epochs' weights; returns its name, None with fewer than two epochs.

        Args:
          num_epochs: how many at the most.
          variables: names of those that inference needs.
        """
        steps = self.epoch_ends()[-num_epochs:] if num_epochs else []
        if len(steps) < 2:
            return None
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
            with _writing(self.prefix(name)):
                saver.save(session, self.prefix(name), write_meta_graph=False, write_state=False)
        for old in self._averages():
            if old not in (name, (self.best() or {}).get('name')):
                self._remove(old)
        return name

    def _averages(self) -> list[str]:
        found = (_AVERAGE.fullmatch(path.name) for path in self.directory.glob('average-*.index'))
        return [match[0].removesuffix('.index') for match in found if match]

    def clean(self) -> None:
        """Removes what a killed process left of a checkpoint."""
        whole = {f'model-{step}' for step in self.steps()}
        for path in self.directory.glob('model-*'):
            if path.name.partition('.')[0] not in whole:
                path.unlink() if path.is_file() else shutil.rmtree(path)

    def _forget_old(self) -> None:
        steps = self.steps()
        kept = {*steps[-self._keep_newest :], *self.epoch_ends()[-max(self._keep_epochs, 1) :]}
        best = (self.best() or {}).get('name')
        for step in steps:
            if step not in kept and f'model-{step}' != best:
                self._remove(f'model-{step}')

    def _remove(self, name: str) -> None:
        # the JSON goes first: without it the rest is not a checkpoint
        for path in sorted(self.directory.glob(f'{name}.*'), key=lambda path: path.suffix != '.json'):
            path.unlink(missing_ok=True)
