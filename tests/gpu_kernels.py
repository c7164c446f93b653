"""Kernels for GPUs that TensorFlow has registered, which needs no GPU but a build for CUDA."""

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels

# carry no tensor of the GPU, or are replaced before the graph runs
NO_WORK = {'NoOp', 'Placeholder', 'PlaceholderWithDefault', 'VarIsInitializedOp'}


def require_cuda_build():
    """Skips the calling test where TensorFlow was built without CUDA."""
    if not tf.test.is_built_with_cuda():
        pytest.skip('this TensorFlow was built without CUDA: it lists no kernels for GPUs')


def gpu_kernels(op):
    """The kernels for GPUs of an operation with its types."""
    found = [k for k in kernels.get_registered_kernels_for_op(op.type).kernel if k.device_type in ('GPU', 'DEFAULT')]
    return [kernel for kernel in found if all(_allows(op, constraint) for constraint in kernel.constraint)]


def _allows(op, constraint):
    allowed, value = constraint.allowed_values.list.type, op.get_attr(constraint.name)
    return set(value if isinstance(value, list) else [value]) <= {tf.as_dtype(each) for each in allowed}


def host_operations(ops):
    """Kinds of the operations that run on the host: placed there by name, or without a kernel for GPUs."""
    return sorted({op.type for op in ops if op.type not in NO_WORK and ('CPU' in op.device or not gpu_kernels(op))})


def host_arguments(op):
    """Names of the arguments that the GPU kernel of an operation keeps in the memory of the host."""
    return {name for kernel in gpu_kernels(op) for name in kernel.host_memory_arg}
