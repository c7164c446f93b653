"""Small indexes with made-up features."""

import json

import numpy as np

from utils.data.index import read_index


def make_index(tmp_path, utterances, features=13):
    """Writes (frames, text) pairs as an index; frame t of each utterance holds the value t."""
    lines = []
    for i, (frames, text) in enumerate(utterances):
        values = np.repeat(np.arange(frames, dtype='f')[:, None], features, 1)
        np.savez(tmp_path / f'{i}.npz', features=values, label=np.zeros(1, 'i'))
        lines.append(json.dumps({'key': f'{i}.npz', 'duration': frames / 100, 'texts': text}))
    path = tmp_path / 'train.json'
    path.write_text('\n'.join(lines))
    return read_index([str(path)])
