"""TensorFlow without its start-up talk."""

import os


def import_tensorflow() -> None:
    """Imports TensorFlow and looks for devices; what its C++ side prints meanwhile is dropped.

    Those lines ignore TF_CPP_MIN_LOG_LEVEL. Python's errors come through; TF_CPP_MIN_LOG_LEVEL=0 shows all.
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
