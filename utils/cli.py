"""Command-line parser with one-line errors, and the flags declared from the fields of a dataclass.

Standard library only, so that ``-h`` answers at once.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, NoReturn


class _HelpFormatter(argparse.HelpFormatter):
    def _get_help_string(self, action):
        is_shown = action.option_strings and action.default not in (None, '', False, argparse.SUPPRESS)
        return f'{action.help} (default: %(default)s)' if is_shown and action.help else action.help


class Parser(argparse.ArgumentParser):
    """Shows defaults in ``-h``; a usage error is one line and exit status 2."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault('formatter_class', _HelpFormatter)
        super().__init__(*args, **kwargs)
        self._named_groups: dict[str, Any] = {}

    def group(self, title: str) -> Any:
        """Group of options with this title, made where it is new; the parser itself for an empty title."""
        if title and title not in self._named_groups:
            self._named_groups[title] = self.add_argument_group(title)
        return self._named_groups[title] if title else self

    def error(self, message: str) -> NoReturn:
        message = ' '.join(message.split())
        self.exit(2, f'error: {message}; {self.prog} -h lists what it takes\n')


def yes_no(text: str) -> bool:
    """Converts yes/no, true/false, 1/0 to bool; an argparse type."""
    if text.lower() in ('yes', 'true', '1', 'y'):
        return True
    if text.lower() in ('no', 'false', '0', 'n'):
        return False
    raise argparse.ArgumentTypeError(f'{text!r} is neither yes nor no')


def number(kind: type, low: float | None = None, high: float | None = None) -> Callable[[str], Any]:
    """Returns an argparse type: an int or float within [low, high]; None: no limit."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r} is not {"an integer" if kind is int else "a number"}') from None
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            limits = [f'at least {low}'] * (low is not None) + [f'at most {high}'] * (high is not None)
            raise argparse.ArgumentTypeError(f'{text} must be {" and ".join(limits)}')
        return value

    return parse


count = number(int, 1)
natural = number(int, 0)


def add_options(parser: Parser, config_class: type, only: Collection[str] | None = None) -> None:
    """Declares the flags of a dataclass whose fields are made by `models.config.option`; other fields have no flag.

    A flag that is absent from the command line leaves no attribute in the parsed namespace: the dataclass has the
    defaults, and `given_options` returns what was given.

    Args:
      parser: parser to add the flags to.
      config_class: dataclass with the options.
      only: names of the fields to declare; None: all of them.
    """
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if 'option' in field.metadata and (only is None or field.name in only):
            _add_option(parser, field, hints[field.name])


def _add_option(parser: Parser, field: dataclasses.Field, kind: Any) -> None:
    option = field.metadata['option']
    settings: dict[str, Any] = {'required': True} if option.is_required else {}
    if isinstance(kind, types.UnionType):  # such as float | None
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    if typing.get_origin(kind) is tuple:
        settings['nargs'], kind = '+', typing.get_args(kind)[0]
    converter = option.type or (yes_no if kind is bool else kind)
    if converter is float or (converter is int and option.choices is None):
        converter = number(converter, option.low, option.high)
    has_long_flag = any(flag.startswith('--') for flag in option.flags)
    parser.group(option.group).add_argument(
        *(option.flags if has_long_flag else (*option.flags, f'--{field.name}')),
        dest=field.name,
        default=argparse.SUPPRESS,
        type=converter,
        choices=option.choices,
        metavar=option.metavar or ('{yes,no}' if kind is bool else None),
        help=_help_with_default(option.help, field.default),
        **settings,
    )


def _help_with_default(text: str, default: Any) -> str:
    text = text.replace('%', '%%')
    if default in (None, '', ()) or '(default:' in text:
        return text
    if isinstance(default, bool | float):
        default = f'{default:g}' if isinstance(default, float) else ('no', 'yes')[default]
    return f'{text} (default: {default})'


def given_options(values: argparse.Namespace, config_class: type) -> dict[str, Any]:
    """Fields of a dataclass that the command line sets, by name; see `add_options`."""
    names = {field.name for field in dataclasses.fields(config_class)}
    given = ((name, value) for name, value in vars(values).items() if name in names)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given}
