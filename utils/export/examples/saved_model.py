"""Recognises recordings (16 kHz, mono, 16 bits) with the SavedModel here: python example.py FILE.wav ..."""

import sys
import wave
from pathlib import Path

import numpy as np
import tensorflow as tf

MODEL = tf.saved_model.load(str(Path(__file__).resolve().parent)).signatures['serving_default']


def recognize(recordings):
    """Outputs for a batch of recordings, float32 in [-1, 1] each, of any lengths: a dictionary of arrays."""
    samples = np.zeros((len(recordings), max(map(len, recordings))), np.float32)
    for row, recording in zip(samples, recordings, strict=True):
        row[: len(recording)] = recording
    lengths = np.array([len(recording) for recording in recordings], np.int32)
    outputs = MODEL(samples=tf.constant(samples), lengths=tf.constant(lengths))
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def read_wav(path):
    """Samples of a WAV file."""
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            raise SystemExit(f'{path}: not 16 kHz, mono, 16 bits; convert it')
        return np.frombuffer(file.readframes(file.getnframes()), '<i2').astype(np.float32) / 32768


if __name__ == '__main__' and sys.argv[1:]:
    for text in recognize([read_wav(path) for path in sys.argv[1:]])['text']:
        print(text.decode())
