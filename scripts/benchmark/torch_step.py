"""PyTorch side of train_step.py: one training step per line on standard input; prints its seconds.

Runs in the environment that train_step.py creates.
"""

import importlib
import json
import sys
import time

import torch
from torch import nn


def main():
    """Reads the job from the command line."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job['threads'])
    torch.manual_seed(0)
    device = torch.device(job['device'])
    model = importlib.import_module(f'torch_{job["model"]}').Model(job).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    x = torch.randn(job['batch'], job['frames'], job['features'], device=device)
    labels = torch.randint(1, 27, [job['batch'], job['symbols']], device=device)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        model.loss(x, labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if device.type == 'cuda':  # launches do not wait for their kernels
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


main()
