"""The training loop of every worker but the chief: its share of the plan, no checkpoint, no validation, no file."""

import dataclasses
import logging

from utils.cluster.coordinator import DONE, LEFT, Crew, Orders, Position
from utils.train.graph import Task, TrainGraph
from utils.train.signals import StopRequest

log = logging.getLogger(__name__)


class Follower:
    """Trains what the chief trains."""

    def __init__(self, task: Task, config, runtime, crew: Crew):
        """Builds the graph; arguments as in `Trainer`."""
        self._task, self._config, self._crew = task, config, crew
        self._is_synchronous = not crew.cluster.ps_hosts
        self._graph = TrainGraph(task, config, runtime)

    def run(self) -> int:
        """Trains until the chief says that the run is complete, or a signal asks to stop.

        Returns:
          0, or 128 + the number of the signal.
        """
        with StopRequest() as self._stop, self._graph.open(None):
            self._orders = self._crew.await_orders(
                lambda orders: not orders.finished, 'to ready the variables', lambda: self._stop.signal
            )
            if self._orders:
                self._take_position()
                self._train()
        if self._stop.signal:
            log.warning('stopped by signal %d; the same command joins again', self._stop.signal)
            return 128 + self._stop.signal
        return 0

    def _take_position(self) -> None:
        self._position = dataclasses.replace(self._crew.own_position(self._orders), state='training')
        self._step = self._graph.read_step()
        log.info('going on from epoch %d, batch %d of this share', self._position.epoch, self._position.batch)

    def _train(self) -> None:
        first, last = self._config.initial_epoch, self._config.initial_epoch + self._config.epochs
        epoch = self._position.epoch
        if epoch < last:
            self._graph.try_worst_batch(self._graph.share(self._task.plan(max(epoch - first, 1))), epoch)
        while not self._stop.signal and not self._orders.finished:
            if self._position.epoch < last:
                self._run_epoch(self._graph.share(self._task.plan(self._position.epoch - first)))
            else:
                self._report(DONE)
                self._await(lambda orders: orders.finished, 'to end the run')
        if not self._stop.signal:
            self._report(LEFT)

    def _run_epoch(self, batches: list) -> None:
        """Goes through what is left of an epoch, until a signal comes or the chief says otherwise."""
        epoch, generation = self._position.epoch, self._position.generation
        # asynchronous workers do not wait while the chief validates, but no epoch is to be made of another's updates
        begun = epoch if self._is_synchronous else epoch - 1
        if not self._await(lambda orders: orders.epoch >= begun, f'to begin epoch {begun}'):
            return
        self._graph.start(batches[self._position.batch :], epoch)
        while self._position.batch < len(batches):
            share, is_leaving = self._position.batch / len(batches), bool(self._stop.signal)
            result = self._graph.train_step(self._step, epoch, share, self._orders.plateau_scale, is_leaving)
            self._step, self._position.batch = int(result.number) + 1, self._position.batch + 1
            if not self._is_synchronous:
                self._report()
                self._orders = self._crew.orders() or self._orders
            if self._orders.generation != generation:
                log.info('the chief has started again')
                self._take_position()
                return
            if self._stop.signal or self._orders.finished:
                return
            if result.num_leaving:
                self._stop.signal = self._stop.signal or 15
                return
        self._position = Position(generation, epoch + 1, 0)

    def _await(self, is_new, what: str) -> Orders | None:
        """The chief's next orders; None where there is nothing more to do in this epoch."""
        generation = self._position.generation
        orders = self._crew.await_orders(
            lambda orders: is_new(orders) or orders.finished or orders.generation != generation,
            what,
            lambda: self._stop.signal,
        )
        if not orders:
            return None
        self._orders = orders
        if orders.generation != generation:
            log.info('the chief has started again')
            self._take_position()
            return None
        return None if orders.finished else orders

    def _report(self, state: str = 'training') -> None:
        self._crew.report(dataclasses.replace(self._position, state=state))
