"""GPUs that TensorFlow finds, and the CUDA libraries without which it finds none."""

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow
import tensorflow.compat.v1 as tf

log = logging.getLogger(__name__)

TF32_CAPABILITY = 8, 0  # the first with TensorFloat-32
# by the name that TensorFlow opens: with CUDA 12 and cuDNN 9
LIBRARIES = {
    'libcuda.so.1': "NVIDIA's driver",
    'libcudart.so.12': 'CUDA runtime',
    'libcublas.so.12': 'cuBLAS',
    'libcublasLt.so.12': 'cuBLASLt',
    'libcufft.so.11': 'cuFFT',
    'libcusolver.so.11': 'cuSOLVER',
    'libcusparse.so.12': 'cuSPARSE',
    'libcudnn.so.9': 'cuDNN',
    'libnccl.so.2': 'NCCL (two GPUs or more)',
}
INSTALL = "pip install 'tensorflow[and-cuda]'"
DRIVER = "install NVIDIA's driver on the host; in a container, start it with its GPUs (--gpus all)"


class Gpu(NamedTuple):
    """A GPU: its name, and its compute capability, (0, 0) where it is unknown."""

    name: str
    capability: tuple[int, int]


def gpus() -> list[Gpu]:
    """The GPUs that TensorFlow finds."""
    details = [tf.config.experimental.get_device_details(each) for each in tf.config.list_physical_devices('GPU')]
    return [Gpu(each.get('device_name', 'unknown'), each.get('compute_capability', (0, 0))) for each in details]


def uses_tf32() -> bool:
    """Whether float32 products on the first GPU keep the 11 bits of TensorFloat-32."""
    is_enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return is_enabled and any(gpu.capability >= TF32_CAPABILITY for gpu in gpus()[:1])


def log_gpus() -> None:
    """Logs the GPUs, and whether float32 products are computed in TensorFloat-32; nothing without a GPU."""
    for i, gpu in enumerate(gpus()):
        log.info('GPU %d: %s, compute capability %d.%d', i, gpu.name, *gpu.capability)
    if gpus():
        yes = 'in TensorFloat-32, 11 bits (the environment variable NVIDIA_TF32_OVERRIDE=0 gives 24)'
        log.info('float32 products: %s', yes if uses_tf32() else '24 bits')


def _open(path: str) -> bool:
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True


def library_states(can_open: Callable[[str], bool] = _open, packages: Path | None = None) -> dict[str, str]:
    """Where each CUDA library is, by name; empty text for a missing one.

    Args:
      can_open: whether a library, or the file of one, can be loaded.
      packages: directory of NVIDIA's packages, below which pip installs the libraries; None: that of TensorFlow's.
    """
    packages = packages or Path(tensorflow.__file__).parents[1] / 'nvidia'
    states = {}
    for name in LIBRARIES:
        files = [path for path in sorted(packages.glob(f'*/lib/{name}')) if can_open(str(path))]
        states[name] = 'library path' if can_open(name) else str(files[0]) if files else ''
    return states


def faults(states: dict[str, str], is_cuda_build: bool, num_gpus: int) -> list[str]:
    """Reasons why TensorFlow finds no GPU, each with its remedy; empty where it finds one.

    Args:
      states: as `library_states` returns them.
      is_cuda_build: whether TensorFlow was built for CUDA.
      num_gpus: GPUs that TensorFlow finds.
    """
    if num_gpus:
        return []
    if not is_cuda_build:
        return [f'this TensorFlow was built without CUDA: pip uninstall tensorflow-cpu, then {INSTALL}']
    found = [
        f'{name} ({LIBRARIES[name]}) is missing: {DRIVER if name == "libcuda.so.1" else INSTALL}'
        for name, where in states.items() if not where and 'NCCL' not in LIBRARIES[name]
    ]
    if not Path('/dev/nvidia0').exists():
        found.insert(0, f'/dev/nvidia0 is missing, there is no NVIDIA GPU here: {DRIVER}')
    return found or ['all libraries are there: run this with TF_CPP_MIN_LOG_LEVEL=0 to see what TensorFlow logs']
