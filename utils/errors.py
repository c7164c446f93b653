"""Expected failures of a command: one line on stderr and an exit status instead of a traceback."""

import codecs
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
# would break a line of output, command a terminal, or have no UTF-8
CONTROL = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')


class DataError(Exception):
    """Bad data or a bad combination of data and settings (exit status 1).

    The message is one line with the place, the fault and the remedy.
    """


class UsageError(DataError):
    """A command line that is wrong for any data (exit status 2)."""


def run_main(main: Callable[[], int]) -> int:
    """Runs a command's ``main``; turns expected failures into one line on stderr and an exit status.

    Returns:
      The status that ``main`` returned; 2 for a `UsageError`; 1 for a `DataError`, a failed file operation or a library
      that is not installed; 130 when interrupted.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # hides TensorFlow's start-up messages
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')  # off by default on some CPUs; GEMMs then take 3 times as long
    _escape_unencodable()
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    try:
        return main()
    except DataError as error:
        print(f'error: {printable(str(error))}', file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        if (REPOSITORY / (error.name or '').split('.')[0]).exists():  # a module of this project: not the user's fault
            raise
        print(
            f'error: {sys.executable} has no module {error.name}; '
            f'install it with: {sys.executable} -m pip install -r requirements.txt',
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # the reader of stdout has exited, such as head
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f'error: {printable(describe_os_error(error))}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def _escape_unencodable() -> None:
    """Lets stdout and stderr take any text: file names as they are, characters that they lack as ``\\u4f60``."""
    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error('surrogateescape')(error)
        except UnicodeError:
            return codecs.backslashreplace_errors(error)

    codecs.register_error('escape', escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where the descriptor is closed
            stream.reconfigure(errors='escape')


def printable(text: str) -> str:
    """The text with its control characters escaped, such as those of a file's name; bytes that are no UTF-8 stay."""
    return CONTROL.sub(lambda found: found[0] if found[0] >= '\ud800' else ascii(found[0])[1:-1], text)


def describe_os_error(error: OSError) -> str:
    """Description of a failed file operation in one line, with the remedy for a full disk or missing permissions."""
    where = f'{error.filename}: ' if error.filename else ''
    what = (error.strerror or str(error)).lower()
    remedy = ''
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = '; free some space and run the same command again: it goes on where it stopped'
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = '; change its permissions or name another path'
    return f'{where}{what}{remedy}'
