"""Properties of the machine, and the import of TensorFlow without its start-up messages."""

import os
from pathlib import Path


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def user_cache_dir() -> Path | None:
    """Directory of the user's caches, which need not exist; None for a user without a home directory."""
    path = Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'))
    return path if path.is_absolute() else None


def import_tensorflow() -> None:
    """Imports TensorFlow and lists its devices; discards what its C++ side writes to stderr meanwhile.

    Those lines ignore TF_CPP_MIN_LOG_LEVEL. Python's errors are shown; TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    if os.environ.get('TF_CPP_MIN_LOG_LEVEL') == '0':
        return
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
