"""Model configuration: sizes and switches of a model, each declared once with its command-line option.

Standard library only, so that a command can answer ``-h`` before TensorFlow is imported.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

PYRAMID_HALVINGS = 3  # the las listener shortens time by 8 in all (section 3.1 of the paper)


class Option(NamedTuple):
    """Command-line option of a dataclass field, under ``metadata['option']``; `utils.cli.add_options` declares it.

    The field's annotation gives the type: int, float and str, bool as yes or no, a tuple of texts as one value or more,
    a tuple of numbers as one comma-separated list.

    Attributes:
      flags: names on the command line.
      help: help text without the default, which is appended unless the text states one itself.
      low, high: limits of a number, inclusive; None: no limit but those of `utils.cli.number`.
      type: converter of the argument's text, where the annotation and the limits do not suffice.
      choices: values allowed, where not all are.
      metavar: placeholder of the value in help.
      group: title of the group of options in help.
      models: names of the models that have the option; empty: all of them.
      beside: name of another field, and the values of it with which the option has an effect (none listed: any value
        but 0); empty: always.
      is_required: whether the command line must have it.
    """

    flags: tuple[str, ...]
    help: str
    low: float | None = None
    high: float | None = None
    type: Callable[[str], Any] | None = None
    choices: Collection | None = None
    metavar: str | None = None
    group: str = ''
    models: tuple[str, ...] = ()
    beside: tuple = ()
    is_required: bool = False


def option(default: Any, *flags: str, help: str, **settings: Any) -> Any:
    """Dataclass field that is a command-line option as well.

    Args:
      default: default value of the field.
      flags: names on the command line; without a long one, ``--`` and the name of the field is the long one.
      help: help text; see `Option` for it and for the other settings.
    """
    return dataclasses.field(default=default, metadata={'option': Option(flags, help, **settings)})


_model = functools.partial(option, group='model')
_layer = functools.partial(option, group='layers')
_las = functools.partial(option, group='listen, attend and spell', models=('las',))

# where a paper differs from the defaults of ModelConfig, which are Deep Speech 2's
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    'ds1': {'rnn_cell': 'rnn', 'rnn_layers': 1, 'conv_layers': 0, 'batch_norm': False},
    'ds2': {},
    'las': {'rnn_cell': 'lstm', 'rnn_layers': 4, 'conv_layers': 0, 'batch_norm': False, 'activation': 'tanh'},
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches that a model's variables depend on. The field names are those in config.json."""

    model: str = _model(
        'ds2', '-md', choices=tuple(MODEL_DEFAULTS), help='Deep Speech, Deep Speech 2, or Listen, Attend and Spell'
    )
    features: int = _model(
        81, '-f', choices=(13, 39, 40, 81, 161), help='feature dimensions per frame; must match the index'
    )
    classes: int = _model(
        29, '-c', low=1, help='model outputs: vocabulary size plus one (default: taken from the vocabulary)'
    )
    rnn_cell: str = _model(
        'gru', '-rc', '--rnncell', choices=('gru', 'lstm', 'rnn'),
        help='recurrent cell; unless given, ds1 uses rnn and las uses lstm',
    )
    hidden_units: int = _model(1024, '-n', '--hiddens', low=1, high=65536, help='units of each layer and direction')
    rnn_layers: int = _layer(
        7, '-rl', low=1, high=100, help='recurrent layers; ds1 has 1; unless given, las has 4 in its listener'
    )
    conv_layers: int = _layer(
        3, '-cl', choices=(1, 2, 3), models=('ds2', 'las'), help='convolutional layers; unless given, las has none'
    )
    activation: str = _layer(
        'relu', '-a', choices=('relu', 'tanh', 'sigmod', 'sigmoid', 'elu'),
        help='activation of the recurrent candidate and of dense hidden layers; relu is clipped at 20; '
        'unless given, las uses tanh',
    )
    batch_norm: bool = _layer(
        True, '-bn', '--batchnorm', help='batch normalisation; unless given, ds1 and las have none'
    )
    bidirectional: bool = _layer(
        True, '-ub', '--use_bidirectional_rnn',
        help='recurrent layers in both directions; no: forwards only, in ds2 with a lookahead convolution',
    )
    lookahead_frames: int = _layer(
        20, low=0, high=1000, models=('ds2',), beside=('bidirectional', False),
        help='future output frames in the lookahead convolution (ds2 with -ub no)'
    )
    dense_layers: int = _layer(
        0, low=0, high=100, models=('ds2',), help='dense layers of -n units before the output (ds2); the paper has some'
    )
    context_frames: int = _layer(9, low=0, high=1000, models=('ds1',), help='input frames on either side of one (ds1)')
    frame_stride: int = _layer(
        1, low=1, high=100, models=('ds1',), help='input frames from one output to the next (ds1); the paper has 2'
    )
    attention: str = _las(
        'location', choices=('content', 'location'),
        help='attention energies from the content of a frame alone, or from the previous attention location as well',
    )
    attention_heads: int = _las(
        1, low=1, high=64, help='heads of the attention, which share its -n units and those of the context among them'
    )
    speller_layers: int = _las(1, low=1, high=100, help='recurrent layers of the speller; the paper has 2')
    ctc_weight: float = _las(
        0.2, low=0, high=0.99,
        help='share of the loss from a CTC head on the listener; 0: no such head, as in the paper',
    )

    @property
    def family(self) -> str:
        """The kind of output: 'ctc' or 'attention'."""
        return 'attention' if self.model == 'las' else 'ctc'

    @property
    def num_halvings(self) -> int:
        """Recurrent layers of the las listener that halve the time axis; its convolutions halve it once."""
        return PYRAMID_HALVINGS - (self.conv_layers > 0)

    @property
    def layers(self) -> tuple[str, ...]:
        """Variable scopes of the layers below the output, from the features up; for las those of the listener."""
        if self.model == 'ds1':
            return 'dense1', 'dense2', 'dense3', 'rnn4', 'dense5'
        names = [f'conv{i + 1}' for i in range(self.conv_layers)]
        if self.model == 'las':
            names += [f'listener{i + 1}' for i in range(self.rnn_layers)]
            return tuple(f'listener/{name}' for name in names)
        names += [f'rnn{i + 1}' for i in range(self.rnn_layers)] + ['lookahead'] * (not self.bidirectional)
        return *names, *(f'dense{i + 1}' for i in range(self.dense_layers))

    @property
    def class_axes(self) -> dict[str, int]:
        """Names of the variables with an axis over the classes, and that axis; the CTC head of las has them twice."""
        if self.model != 'las':
            return {'output/kernel': 1, 'output/bias': 0}
        spelling = {'speller/embedding': 0, 'speller/symbols/kernel': 1, 'speller/symbols/bias': 0}
        return {**spelling, 'listener/ctc/kernel': 1, 'listener/ctc/bias': 0}

    def contradictions(self) -> list[str]:
        """Descriptions of options that cannot work together; empty where the configuration is valid."""
        found = []
        if self.model == 'ds1' and self.rnn_layers != 1:
            found.append(f'-rl {self.rnn_layers}: Deep Speech has one recurrent layer; leave it out')
        if self.model == 'las' and self.rnn_layers < self.num_halvings:
            found.append(
                f'-rl {self.rnn_layers}: the listener of las has {self.num_halvings} layers that halve time; '
                f'give {self.num_halvings} or more'
            )
        if self.model == 'las' and self.hidden_units % self.attention_heads:
            found.append(
                f'--attention_heads {self.attention_heads}: the heads share -n {self.hidden_units} units; '
                f'give a divisor of that number'
            )
        return found
