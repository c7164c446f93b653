"""What a user's mistake looks like: one line, a status, no traceback."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).parent.parent


class DataError(Exception):
    """Bad data or a bad combination of data and settings (exit status 1).

    The message is one line that says where, what, and what to do about it.
    """


class UsageError(DataError):
    """A command line that cannot work, whatever the data (exit status 2)."""


def run_main(main: Callable[[], int]) -> int:
    """Runs a command's ``main``; turns expected failures into one line on stderr and a status.

    Returns:
      What ``main`` returned, 2 for a `UsageError`, 1 for a `DataError`, an error of the
      file system or a library that is not installed, 130 when interrupted.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's start-up talk
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')  # off by default on some CPUs; GEMMs then take 3 times as long
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    try:
        return main()
    except DataError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        if (
            REPOSITORY / (error.name or '').split('.')[0]
        ).exists():  # one of our own: a mistake of ours, not the user's
            raise
        print(
            f'error: {sys.executable} has no module {error.name}; '
            f'install it with: {sys.executable} -m pip install -r requirements.txt',
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # the reader of our output has gone; it has what it wanted
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f'error: {describe_os_error(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def describe_os_error(error: OSError) -> str:
    """One line for a failed file operation, with a remedy for a full disk."""
    where = f'{error.filename}: ' if error.filename else ''
    what = (error.strerror or str(error)).lower()
    remedy = ''
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = '; free some space and run the same command again: it goes on where it stopped'
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = '; change its permissions or name another path'
    return f'{where}{what}{remedy}'
