"""A blackboard in the memory of one task of a cluster: short texts that every other task can read and write."""

import threading
from collections.abc import Callable, Iterable

import tensorflow.compat.v1 as tf

from utils.errors import DataError


class KeyValueStore:
    """Named texts on a device of the cluster. They live as long as the process that owns the device."""

    def __init__(self, target: str, device: str, filters: Iterable[str], names: Iterable[str], timeout_secs: float):
        """Connects to the device, whose process is up.

        Args:
          target: of this process's server.
          device: such as /job:ps/task:0.
          filters: the tasks that the connection needs.
          names: of the texts.
          timeout_secs: the longest that connecting, or one access, may take.
        """
        self._device, self._timeout_secs = device, timeout_secs
        self._reads, self._writes, self._values = {}, {}, {}
        with tf.Graph().as_default() as graph, tf.device(f'{device}/cpu:0'):
            for name in names:
                handle = tf.raw_ops.VarHandleOp(dtype=tf.string, shape=[], shared_name=f'store/{name}')
                self._values[name] = tf.placeholder(tf.string, [])
                self._writes[name] = tf.raw_ops.AssignVariableOp(resource=handle, value=self._values[name])
                self._reads[name] = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.string)
        config = tf.ConfigProto(device_filters=list(filters), operation_timeout_in_ms=int(timeout_secs * 1000))
        config.inter_op_parallelism_threads = config.intra_op_parallelism_threads = 1
        self._session = within(
            timeout_secs,
            lambda: tf.Session(target, graph=graph, config=config),
            f'{device} does not answer as what it should be; start all tasks with the same hosts',
        )

    def read(self, *names: str) -> tuple[str, ...]:
        """Texts by name; '' where nothing was written yet."""
        try:
            return tuple(text.decode() for text in self._session.run([self._reads[name] for name in names]))
        except tf.errors.FailedPreconditionError:
            return tuple(self._read_one(name) for name in names) if len(names) > 1 else (self._read_one(names[0]),)

    def _read_one(self, name: str) -> str:
        try:
            return self._session.run(self._reads[name]).decode()
        except tf.errors.FailedPreconditionError:
            return ''

    def write(self, **texts: str) -> None:
        """Writes texts by name."""
        writes = [self._writes[name] for name in texts]
        self._session.run(writes, {self._values[name]: text.encode() for name, text in texts.items()})


def within(timeout_secs: float, function: Callable, message: str):
    """The result of a function; a `DataError` with the message where it takes longer than it may."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_secs)
    if not outcome:
        raise DataError(message)
    result, error = outcome[0]
    if error:
        raise error
    return result
