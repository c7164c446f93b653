"""Decodes the posteriors of `ctc_decoding.py` with another library; runs in the environment of that library.

    python ctc_decoding_peers.py PEER DIRECTORY

DIRECTORY contains `job.json` and `posteriors.npz`; the ids found and the seconds taken are printed as JSON.
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np

SPACE = ' '


def flashlight(job):
    """flashlight's lexicon-free decoder, all symbols tried at every frame."""
    from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM

    blank_id = len(job['tokens'])
    options = LexiconFreeDecoderOptions(
        beam_size=job['beam_width'],
        beam_size_token=blank_id + 1,
        beam_threshold=50.0,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    decoder = LexiconFreeDecoder(options, ZeroLM(), job['tokens'].index(SPACE), blank_id, [])
    return lambda log_probs: _flashlight_ids(decoder, log_probs, blank_id)


def flashlight_lm(job):
    """flashlight's lexicon decoder with KenLM."""
    from flashlight.lib.text.decoder import (
        CriterionType,
        KenLM,
        LexiconDecoder,
        LexiconDecoderOptions,
        SmearingMode,
        Trie,
    )  # fmt: skip
    from flashlight.lib.text.dictionary import Dictionary

    tokens, words = job['tokens'], job['words']
    blank_id, space_id = len(tokens), job['tokens'].index(SPACE)
    dictionary = Dictionary([*words, '<unk>'])
    lm = KenLM(job['lm'], dictionary)
    trie = Trie(blank_id + 1, space_id)
    start = lm.start(False)
    for word_id, word in enumerate(words):
        _, score = lm.score(start, word_id)
        trie.insert([*(tokens.index(letter) for letter in word), space_id], word_id, score)
    trie.smear(SmearingMode.MAX)
    options = LexiconDecoderOptions(
        beam_size=job['beam_width'],
        beam_size_token=blank_id + 1,
        beam_threshold=50.0,
        lm_weight=job['lm_weight'] * math.log(10),  # KenLM's scores are log10
        word_score=job['word_bonus'],
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    unk_id = dictionary.get_index('<unk>')
    decoder = LexiconDecoder(options, trie, lm, space_id, blank_id, unk_id, [], False)
    return lambda log_probs: _flashlight_ids(decoder, log_probs, blank_id)


def _flashlight_ids(decoder, log_probs, blank_id):
    result = decoder.decode(log_probs.ctypes.data, *log_probs.shape)[0]
    # one token a frame, and one more on either side, which are no frames
    path = [token for token in result.tokens if token >= 0]
    path = path[len(path) - len(log_probs) - 1 : -1] if len(path) > len(log_probs) + 1 else path[: len(log_probs)]
    return [
        token
        for position, token in enumerate(path)
        if token != blank_id and (position == 0 or path[position - 1] != token)
    ]


def pyctcdecode(job):
    """pyctcdecode with its default pruning."""
    return _pyctcdecode(job)


def pyctcdecode_lm(job):
    """pyctcdecode with KenLM and its default pruning."""
    return _pyctcdecode(
        job, kenlm_model_path=job['lm'], unigrams=job['words'], alpha=job['lm_weight'], beta=job['word_bonus']
    )


def _pyctcdecode(job, **model):
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder([*job['tokens'], ''], **model)
    ids = {token: token_id for token_id, token in enumerate(job['tokens'])}
    return lambda log_probs: [ids[letter] for letter in decoder.decode(log_probs, beam_width=job['beam_width'])]


def tensorflow(job):
    """tf.nn.ctc_beam_search_decoder on one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def decode(log_probs):
        paths, _ = tf.nn.ctc_beam_search_decoder(log_probs[:, np.newaxis], [len(log_probs)], job['beam_width'], 1)
        return paths[0].values.numpy().tolist()

    return decode


PEERS = {
    'flashlight-text': flashlight,
    'flashlight-text-lm': flashlight_lm,
    'pyctcdecode': pyctcdecode,
    'pyctcdecode-lm': pyctcdecode_lm,
    'tensorflow': tensorflow,
}


def main() -> None:
    peer, directory = sys.argv[1], Path(sys.argv[2])
    job = json.loads((directory / 'job.json').read_text())
    with np.load(directory / 'posteriors.npz') as data:
        posteriors = [np.ascontiguousarray(data[f'arr_{number}']) for number in range(len(data.files))]
    decode = PEERS[peer](job)
    decode(posteriors[0])
    found, seconds = [], []
    for log_probs in posteriors:
        times = []
        for _ in range(job['repeats']):
            start = time.process_time()
            ids = decode(log_probs)
            times.append(time.process_time() - start)
        found.append(ids)
        seconds.append(min(times))
    print(json.dumps({'ids': found, 'seconds': seconds}))


if __name__ == '__main__':
    main()
