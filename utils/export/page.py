"""The README of an export: inputs, outputs, and an example."""

from pathlib import Path
from typing import TYPE_CHECKING

from utils.audio.resample import SAMPLE_RATE

if TYPE_CHECKING:
    from utils.export.graphs import RunGraph

_SAMPLES = 'float32 `[{}]`: 16 kHz, mono, full scale [-1, 1]'
_LOG_PROBS = 'float32 `{}`: natural logarithms; the classes are the tokens of `vocab.txt` and, last, the blank of CTC'


def readme(graph: 'RunGraph', example: str, details: dict) -> str:
    """Text of README.md.

    Args:
      graph: what was exported.
      example: name of the file in examples/.
      details: numbers about a TFLite model, as `package.export` has them.
    """
    what, tables = {'saved_model': _saved_model, 'tflite': _tflite, 'tflite_stream': _tflite_stream}[example](
        graph, details
    )
    packages = 'tensorflow' if example == 'saved_model' else 'ai-edge-litert'
    code = (Path(__file__).parent / 'examples' / f'{example}.py').read_text(encoding='utf-8')
    return f"""# Speech recognition: {what}

{graph.config.model} with features {graph.spec}, weights of checkpoint `{graph.checkpoint}`.
Features, their normalisation and the model are in the graph. An output frame is {1000 * graph.secs_per_frame:g} ms.
`vocab.txt` has a token and its id a line; `<SPACE>` stands for the space.

{tables}
## Example

`pip install {packages} numpy`, then `python example.py FILE.wav`:

```python
{code}```
"""


def _table(title: str, rows: dict[str, str]) -> str:
    lines = [f'| {title} | |', '|---|---|', *(f'| `{name}` | {text} |' for name, text in rows.items())]
    return '\n'.join(lines) + '\n'


def _saved_model(graph, details):
    inputs = {
        'samples': _SAMPLES.format('batch, samples') + '; anything beyond each length',
        'lengths': 'int32 `[batch]`: samples of each recording',
    }
    text = 'string `[batch]`, UTF-8; empty for a recording shorter than a window'
    if graph.config.family == 'attention':
        outputs = {
            'ids': 'int32 `[batch, symbols]`: tokens that were spelled greedily, 0 beyond each length',
            'log_probs': 'float32 `[batch, symbols]`: their log-probabilities, 0 beyond each length',
            'symbol_lengths': 'int32 `[batch]`',
            'text': text,
        }
    else:
        outputs = {
            'log_probs': _LOG_PROBS.format('[batch, frames, classes]') + '; 0 beyond each length',
            'frame_lengths': 'int32 `[batch]`',
            'text': f'{text}: the best path, repeats merged and blanks removed',
        }
    note = (
        'Recordings are recognised whole: cut those of more than half a minute at pauses. The batch changes nothing '
        'about a recording.\n'
    )
    tables = [_table(title, rows) for title, rows in (('input', inputs), ('output', outputs))]
    return 'SavedModel', 'Signature `serving_default`:\n\n' + '\n'.join([*tables, note])


def _quantised(details):
    return 'int8 weights' if details['quantization'] == 'int8' else 'float32'


def _tflite(graph, details):
    inputs = {'samples': _SAMPLES.format('1, samples') + '; any number but 0'}
    outputs = {
        'log_probs': _LOG_PROBS.format('[1, frames, classes]'),
        'frame_lengths': 'int32 `[1]`: frames that count; 0 for a recording shorter than a window',
    }
    tables = [_table(title, rows) for title, rows in (('input', inputs), ('output', outputs))]
    note = 'Only built-in operations. Cut recordings of more than half a minute at pauses.\n'
    return f'TFLite, whole utterances, {_quantised(details)}', '\n'.join([*tables, note])


def _tflite_stream(graph, details):
    size = details['chunk_samples']
    inputs = {
        'samples': _SAMPLES.format(f'1, {size}') + f' ({1000 * size / SAMPLE_RATE:g} ms); zeros after the end',
        'state': f'float32 `[1, {details["state_size"]}]`: zeros at the beginning of a recording, then the last output',
        'position': 'int32 `[1]`: samples before this chunk; 0 at the beginning, then the last output',
        'num_samples': 'int32 `[1]`: samples of the recording from the chunk with the last one on; before, 2147483647',
    }
    outputs = {
        'log_probs': _LOG_PROBS.format('[1, frames, classes]'),
        'is_frame': 'bool `[1, frames]`: which frames belong to the recording; outputs are late, so the first do not',
        'is_done': 'bool `[1]`: the last frame is out; until then, chunks of zeros follow the end of the recording',
        'state': 'for the next chunk',
        'position': 'for the next chunk',
    }
    tables = [_table(title, rows) for title, rows in (('input', inputs), ('output', outputs))]
    note = 'Only built-in operations. The frames are those of the whole recording, whatever the chunks.\n'
    return f'TFLite, chunk by chunk, {_quantised(details)}', '\n'.join([*tables, note])
