"""Steps of a run at their learning rate; whoever trains, chief or not, takes them alike."""

import logging
import time

import numpy as np

from utils.errors import DataError
from utils.train.graph import StepResult, Task, TrainGraph
from utils.train.optimizer import learning_rate_at
from utils.train.profile import Profiler

log = logging.getLogger(__name__)


class Stepper:
    """Runs steps, and gives up after too many in a row whose loss is not finite.

    Attributes:
      seconds, learning_rate: of the last step.
    """

    def __init__(self, graph: TrainGraph, task: Task, config, profiler: Profiler | None = None):
        """Steps through a graph; config is a `TrainConfig`, the profiler says which steps are traced."""
        self._graph, self._task, self._config, self._profiler = graph, task, config, profiler
        self._bad_steps = 0
        self.seconds = self.learning_rate = 0.0

    def run(self, step: int, epoch: int, epoch_share: float, plateau_scale: float, is_leaving: bool) -> StepResult:
        """Trains on the next batch.

        Args:
          step: updates made so far.
          epoch: number of the epoch.
          epoch_share: how much of it is done, 0 to 1.
          plateau_scale: of the learning rate.
          is_leaving: whether this process wants to stop.

        Raises:
          DataError: too many steps in a row were not finite.
        """
        self.learning_rate = learning_rate_at(self._config, step, epoch, epoch_share, plateau_scale)
        trace = self._profiler.begin_step() if self._profiler else None
        start = time.monotonic()
        result = self._graph.run_step(self.learning_rate, is_leaving, trace)
        self.seconds = time.monotonic() - start
        if trace is not None:
            self._profiler.end_step(int(result.number) + 1)
        if result.is_finite:
            self._bad_steps = 0
        else:
            self._report(result)
        return result

    def _report(self, result: StepResult) -> None:
        self._bad_steps += 1
        bad = ~np.isfinite(result.losses)
        named = ', '.join(self._task.name_row(row) for row in (result.rows[bad] if bad.any() else result.rows))
        what = 'loss' if bad.any() else 'gradient'
        log.warning('step %d: the %s is not finite; no update. Utterances: %s', result.number + 1, what, named)
        if self._bad_steps >= self._config.max_bad_steps:
            raise DataError(
                f'{self._bad_steps} steps in a row without a finite {what}; lower -lr or -gc, or look at the '
                f'utterances named above; the newest checkpoint is kept'
            )
