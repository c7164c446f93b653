"""A key-value store of strings on one task, held in resource variables."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import tensorflow.compat.v1 as tf

from utils.errors import DataError


class KeyValueStore:
    """String values on a device of the cluster. They live as long as the process that owns the device."""

    def __init__(self, target: str, device: str, filters: Iterable[str], keys: Iterable[str], timeout_secs: float):
        """Connects to the device, whose process must be running.

        Args:
          target: address of this process's server, as `tf.Session` takes it.
          device: device that holds the values, such as /job:ps/task:0.
          filters: tasks that the session connects to.
          keys: all keys of the store.
          timeout_secs: timeout of connecting, and of each access.

        Raises:
          DataError: the device does not answer in time.
        """
        self._reads, self._writes, self._values = {}, {}, {}
        with tf.Graph().as_default() as graph, tf.device(f'{device}/cpu:0'):
            for key in keys:
                handle = tf.raw_ops.VarHandleOp(dtype=tf.string, shape=[], shared_name=f'store/{key}')
                self._values[key] = tf.placeholder(tf.string, [])
                self._writes[key] = tf.raw_ops.AssignVariableOp(resource=handle, value=self._values[key])
                self._reads[key] = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.string)
        config = tf.ConfigProto(device_filters=list(filters), operation_timeout_in_ms=int(timeout_secs * 1000))
        config.inter_op_parallelism_threads = config.intra_op_parallelism_threads = 1
        connected = _run_in_thread(lambda: tf.Session(target, graph=graph, config=config))
        try:
            self._session = connected.result(timeout_secs)
        except TimeoutError:
            raise DataError(
                f'{device} does not answer as what it should be; start all tasks with the same hosts'
            ) from None

    def read(self, key: str) -> str:
        """Returns the value of a key; '' where none has been written."""
        try:
            return self._session.run(self._reads[key]).decode(errors='replace')
        except tf.errors.FailedPreconditionError:
            return ''

    def write(self, **values: str) -> None:
        """Writes values by key."""
        writes = [self._writes[key] for key in values]
        self._session.run(writes, {self._values[key]: value.encode() for key, value in values.items()})


def _run_in_thread(function: Callable[[], tf.Session]) -> Future:
    """Calls a function in a daemon thread: unlike an executor's, one that blocks does not keep the process alive."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
