"""Listen, Attend and Spell in PyTorch; see torch_step.py."""

import torch
from torch import nn

LOCATION_WIDTH = 31
CTC_FRAMES = 2


class Model(nn.Module):
    """The model of a job: `loss` of a batch, with the CTC head that the case has."""

    def __init__(self, job):
        super().__init__()
        units, self.job = job['hidden_units'], job
        sizes = [job['features'], *[4 * units] * (job['rnn_layers'] - 1)]
        self.listener = nn.ModuleList(nn.LSTM(size, units, bidirectional=True) for size in sizes)
        self.embedding = nn.Embedding(29, units)
        inputs = [3 * units, *[units] * (job['speller_layers'] - 1)]
        self.speller = nn.ModuleList(nn.LSTMCell(size, units) for size in inputs)
        self.keys, self.query = nn.Linear(2 * units, units), nn.Linear(units, units, bias=False)
        if job['attention'] == 'location':
            self.location = nn.Conv1d(1, units, LOCATION_WIDTH, padding=LOCATION_WIDTH // 2, bias=False)
            self.score = nn.Linear(units, 1, bias=False)
        self.output = nn.Sequential(nn.Linear(3 * units, units), nn.Tanh(), nn.Linear(units, 29))
        self.ctc = nn.Linear(2 * units, CTC_FRAMES * 29)

    def _listen(self, x):
        for i, layer in enumerate(self.listener):
            if i:
                if len(x) % 2:
                    x = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
                x = x.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2).contiguous()
            x, _ = layer(x)
        return x

    def _scores(self, state, keys, previous):
        if self.job['attention'] == 'content':
            return torch.bmm(keys, torch.tanh(self.query(state)).unsqueeze(2)).squeeze(2)
        seen = self.location(previous.unsqueeze(1)).transpose(1, 2)
        return self.score(torch.tanh(keys + self.query(state).unsqueeze(1) + seen)).squeeze(2)

    def _spell(self, memory, symbols):
        """Outputs `[steps, batch, 3 · units]` given the symbols before each step, `[batch, steps]`."""
        batch, frames, memory_units = memory.shape
        keys = self.keys(memory)
        if self.job['attention'] == 'content':
            keys = torch.tanh(keys)
        zero = memory.new_zeros(batch, memory_units // 2)
        states = [(zero, zero) for _ in self.speller]
        context, weights, outputs = memory.new_zeros(batch, memory_units), memory.new_zeros(batch, frames), []
        for row in self.embedding(symbols).unbind(1):
            x = torch.cat([row, context], 1)
            for i, cell in enumerate(self.speller):
                states[i] = cell(x, states[i])
                x = states[i][0]
            weights = torch.softmax(self._scores(x, keys, weights), 1)
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            outputs.append(torch.cat([x, context], 1))
        return torch.stack(outputs)

    def loss(self, x, labels):
        """Mean loss a symbol; x `[batch, frames, features]`, labels `[batch, symbols]`."""
        encoded = self._listen(x.transpose(0, 1).contiguous())
        memory = encoded.transpose(0, 1).contiguous()
        end = labels.new_full([len(labels), 1], 28)
        logits = self.output(self._spell(memory, torch.cat([end, labels], 1)))
        targets = torch.cat([labels, end], 1).t()
        spelled = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        ctc = self.ctc(encoded).unflatten(2, (CTC_FRAMES, 29)).transpose(1, 2).flatten(0, 1).log_softmax(2)
        lengths = torch.full([len(labels)], len(ctc)), torch.full([len(labels)], labels.shape[1])
        aligned = nn.functional.ctc_loss(ctc, labels, *lengths, blank=28, reduction='sum')
        weight = self.job['ctc_weight']
        return (1 - weight) * spelled + weight * aligned / targets.numel()
