"""ARPA files, the interchange format of n-gram models, written."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.files import replacing
from utils.lm.arpa_scan import Rows

ROWS_AT_A_TIME = 100_000  # that are turned into Python objects


def write_arpa(path: str | Path, words: Sequence[str], orders: Sequence[Rows]) -> None:
    """Writes an ARPA file (gzipped where the name ends in .gz), whole or not at all; the directory is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary_path:
        opener = gzip.open if path.suffix == '.gz' else open
        with opener(temporary_path, 'wt', encoding='utf-8', newline='\n') as file:
            file.write('\\data\\\n')
            file.writelines(f'ngram {order}={len(rows.log_probs)}\n' for order, rows in enumerate(orders, 1))
            for order, rows in enumerate(orders, 1):
                file.write(f'\n\\{order}-grams:\n')
                file.writelines(_lines(words, rows, has_backoff=order < len(orders)))
            file.write('\n\\end\\\n')


def _lines(words: Sequence[str], rows: Rows, has_backoff: bool) -> Iterator[str]:
    for first in range(0, len(rows.log_probs), ROWS_AT_A_TIME):
        part = slice(first, first + ROWS_AT_A_TIME)
        columns = (rows.ngrams[part].tolist(), rows.log_probs[part].tolist(), rows.backoffs[part].tolist())
        for ngram, log_prob, backoff in zip(*columns, strict=True):
            text = ' '.join([words[word] for word in ngram])
            yield f'{log_prob:.7g}\t{text}\t{backoff:.7g}\n' if has_backoff else f'{log_prob:.7g}\t{text}\n'
