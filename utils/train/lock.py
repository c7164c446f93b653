"""Lock on a run directory: one training at a time writes there, and notices when the directory is moved."""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.errors import DataError

log = logging.getLogger(__name__)

LOCK_NAME = '.lock'


@contextlib.contextmanager
def lock_run(run_dir: str) -> Iterator[Callable[[], None]]:
    """Locks a run directory, which is made where it is missing, for the body; the lock ends with the process.

    Yields a function that raises a `DataError` once the path is no longer the directory that was locked.

    Raises:
      DataError: another training holds the lock.
    """
    path, is_new = Path(run_dir) / LOCK_NAME, not os.path.exists(run_dir)
    os.makedirs(run_dir, exist_ok=True)
    # no other file gets the inode number of an open one
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), 'r+') as file:

        def check() -> None:
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                raise DataError(
                    f'{run_dir}: renamed or removed while this training wrote there; nothing more is written. '
                    f'Move it back and run the same command again: it resumes from the newest checkpoint'
                )

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.readline(200).strip() or 'that has just begun'
            raise DataError(
                f'{run_dir}: another training ({holder}) writes there; wait for its end or give another -s'
            ) from None
        except OSError as error:  # a network file system without locks
            log.warning('%s cannot be locked (%s): start no other training in it', run_dir, error.strerror)
        file.truncate(0)
        print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
        try:
            check()
            yield check
        finally:
            with contextlib.suppress(DataError, OSError):
                check()
                path.unlink()
                if is_new:
                    os.rmdir(run_dir)  # fails unless nothing was written: this training could not start
