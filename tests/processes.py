"""The commands as processes of their own, without waiting for TensorFlow's import in each: a server forks them."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time

MODULES = [
    'run_train',
    'models',
    'utils.train.launch',
    'utils.train.trainer',
    'utils.train.evaluator',
    'matplotlib.pyplot',
]


def _context():
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['tests.conftest', *MODULES])
    return context


def _run(argv, environment, log_path):
    os.environ.update(environment)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import run_train
    from utils.errors import run_main

    status = run_main(lambda: run_train.main(argv))
    sys.stdout.flush()
    sys.exit(status)


class Command:
    """A run_train.py that runs beside the test."""

    def __init__(self, log_path, *arguments, **environment):
        self.log_path = log_path
        arguments = [str(argument) for argument in arguments]
        self._process = _context().Process(target=_run, args=(arguments, environment, str(log_path)), daemon=True)
        self._process.start()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors='replace') if self.log_path.exists() else ''

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait(self, timeout_secs=120) -> int:
        """The exit status; the log stands in the error where it does not end."""
        self._process.join(timeout_secs)
        assert not self.is_running, f'{self.log_path.name} does not end:\n{self.log}'
        return self._process.exitcode

    def wait_for(self, text, timeout_secs=120):
        """Waits until the log has a text."""
        end = time.monotonic() + timeout_secs
        while text not in self.log:
            assert self.is_running, f'{self.log_path.name} ended without {text!r}:\n{self.log}'
            assert time.monotonic() < end, f'{self.log_path.name} lacks {text!r}:\n{self.log}'
            time.sleep(0.05)

    def kill(self, number=signal.SIGKILL):
        os.kill(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.join()


def free_hosts(number):
    """host:port on this machine, where nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]
