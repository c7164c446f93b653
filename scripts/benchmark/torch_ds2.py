"""Deep Speech 2 in PyTorch; see torch_step.py. Convolutions have the frequency axis first, PyTorch's fastest layout."""

import torch
from torch import nn


class Model(nn.Module):
    """The model of a job: `loss` of a batch."""

    def __init__(self, job):
        super().__init__()
        convolutions, height, units = [], job['features'], job['hidden_units']
        for i, (kernel, stride) in enumerate([((41, 11), (2, 2)), ((21, 11), (2, 1))][: job['conv_layers']]):
            padding = [k // 2 for k in kernel]
            convolutions += [nn.Conv2d(32 if i else 1, 32, kernel, stride, padding), nn.Hardtanh(0, 20)]
            height = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
        self.convolutions = nn.Sequential(*convolutions)
        sizes = [32 * height, *[units] * (job['rnn_layers'] - 1)]
        self.layers = nn.ModuleList(nn.GRU(size, units, bidirectional=True) for size in sizes)
        self.output = nn.Linear(units, 29)

    def loss(self, x, labels):
        """Mean loss an utterance; x `[batch, frames, features]`, labels `[batch, symbols]`."""
        x = self.convolutions(x.transpose(1, 2).unsqueeze(1).contiguous())
        x = x.flatten(1, 2).permute(2, 0, 1).contiguous()
        for layer in self.layers:
            y, _ = layer(x)
            forward, backward = y.chunk(2, 2)
            x = forward + backward
        log_probs = self.output(x).log_softmax(2)
        lengths = torch.full([len(labels)], len(log_probs)), torch.full([len(labels)], labels.shape[1])
        return nn.functional.ctc_loss(log_probs, labels, *lengths, blank=28, reduction='sum') / len(labels)
