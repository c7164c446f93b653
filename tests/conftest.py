"""Settings shared by all tests."""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

pytest_plugins = ['tests.shell', 'tests.tones']  # its fixtures
