"""Recognises recordings (16 kHz, mono, 16 bits) with model.tflite: python example.py FILE.wav ..."""

import sys
import wave
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

HERE = Path(__file__).resolve().parent
TOKENS = [line.rpartition(' ')[0] for line in (HERE / 'vocab.txt').read_text(encoding='utf-8').splitlines()]
SEPARATOR = ' ' if any(len(token) > 1 and token != '<SPACE>' for token in TOKENS) else ''  # units such as pinyin
MODEL = Interpreter(str(HERE / 'model.tflite'), num_threads=1).get_signature_runner('serving_default')


def log_probs(recording):
    """Log-probabilities, `[frames, classes]`, of a recording, float32 in [-1, 1], of any length but 0."""
    outputs = MODEL(samples=np.asarray(recording, np.float32)[np.newaxis])
    return outputs['log_probs'][0, : outputs['frame_lengths'][0]]


def best_path(rows):
    """Text of the best path: repeated symbols are merged, then blanks (the last class) removed."""
    ids = rows.argmax(1).tolist() if len(rows) else []
    symbols = [new for old, new in zip([-1, *ids], ids, strict=False) if new not in (old, len(TOKENS))]
    tokens = [' ' if TOKENS[symbol] == '<SPACE>' else TOKENS[symbol] for symbol in symbols]
    return ' '.join(SEPARATOR.join(tokens).split())


def read_wav(path):
    """Samples of a WAV file."""
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            raise SystemExit(f'{path}: not 16 kHz, mono, 16 bits; convert it')
        return np.frombuffer(file.readframes(file.getnframes()), '<i2').astype(np.float32) / 32768


if __name__ == '__main__':
    for path in sys.argv[1:]:
        print(best_path(log_probs(read_wav(path))))
