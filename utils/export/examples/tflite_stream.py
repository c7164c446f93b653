"""Recognises recordings (16 kHz, mono, 16 bits) in chunks with model.tflite: python example.py FILE.wav ..."""

import sys
import wave
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

HERE = Path(__file__).resolve().parent
TOKENS = [line.rpartition(' ')[0] for line in (HERE / 'vocab.txt').read_text(encoding='utf-8').splitlines()]
SEPARATOR = ' ' if any(len(token) > 1 and token != '<SPACE>' for token in TOKENS) else ''  # units such as pinyin
MODEL = Interpreter(str(HERE / 'model.tflite'), num_threads=1).get_signature_runner('serving_default')


def stream(recording):
    """Log-probabilities, `[frames, classes]`, of each chunk of a recording, float32 in [-1, 1], of any length."""
    details = MODEL.get_input_details()
    size, state, position = details['samples']['shape'][1], np.zeros(details['state']['shape'], np.float32), 0
    is_done = False
    while not is_done:
        chunk = np.zeros((1, size), np.float32)  # zeros after the end
        found = recording[position : position + size]
        chunk[0, : len(found)] = found
        # the length counts from the chunk with the last sample on; a microphone would give 2**31 - 1 before that
        length = len(recording) if position + size >= len(recording) else 2**31 - 1
        outputs = MODEL(
            samples=chunk,
            state=state,
            position=np.array([position], np.int32),
            num_samples=np.array([length], np.int32),
        )
        state, position, is_done = outputs['state'], int(outputs['position'][0]), bool(outputs['is_done'][0])
        yield outputs['log_probs'][0][outputs['is_frame'][0]]


def log_probs(recording):
    """Log-probabilities, `[frames, classes]`, of a recording, float32 in [-1, 1], of any length."""
    return np.concatenate(list(stream(recording)))


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
