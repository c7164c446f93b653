"""Deep Speech 2 in PyTorch: a training step for each line on standard input, its seconds to standard output.

Runs in the environment that train_step.py makes. Convolutions lie frequency first, which is PyTorch's fastest layout.
"""

import json
import sys
import time

import torch
from torch import nn


class DeepSpeech2(nn.Module):
    """Features `[batch, 1, frequency, time]` to log-probabilities `[time, batch, classes]`."""

    def __init__(self, features, conv_layers, rnn_layers, hidden_units):
        super().__init__()
        convolutions, height = [], features
        for i, (kernel, stride) in enumerate([((41, 11), (2, 2)), ((21, 11), (2, 1))][:conv_layers]):
            padding = [k // 2 for k in kernel]
            convolutions += [nn.Conv2d(32 if i else 1, 32, kernel, stride, padding), nn.Hardtanh(0, 20)]
            height = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
        self.convolutions = nn.Sequential(*convolutions)
        sizes = [32 * height, *[hidden_units] * (rnn_layers - 1)]
        self.layers = nn.ModuleList(nn.GRU(size, hidden_units, bidirectional=True) for size in sizes)
        self.output = nn.Linear(hidden_units, 29)

    def forward(self, x):
        x = self.convolutions(x)
        x = x.flatten(1, 2).permute(2, 0, 1).contiguous()
        for layer in self.layers:
            y, _ = layer(x)
            forward, backward = y.chunk(2, 2)
            x = forward + backward
        return self.output(x).log_softmax(2)


def main():
    """Reads the job from the command line."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job['threads'])
    torch.manual_seed(0)
    batch, frames, symbols = job['batch'], job['frames'], job['symbols']
    model = DeepSpeech2(job['features'], job['conv_layers'], job['rnn_layers'], job['hidden_units'])
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    x = torch.randn(batch, 1, job['features'], frames)
    labels = torch.randint(1, 27, [batch, symbols])
    lengths = torch.full([batch], (frames + 1) // 2), torch.full([batch], symbols)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.ctc_loss(model(x), labels, *lengths, blank=28, reduction='sum') / batch
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(time.perf_counter() - start, flush=True)


main()
