"""The papers' models as graph functions; nothing here knows of files, flags or sessions."""

import importlib

MODULES = {'ds1': 'models.deepspeech1', 'ds2': 'models.deepspeech2'}


def get(name: str):
    """The module of a model: its `forward(features, lengths, config, phase)` and `TIME_STRIDE`."""
    return importlib.import_module(MODULES[name])
