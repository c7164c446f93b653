"""Command-line parser with one-line errors, and the flags declared from the fields of a dataclass.

Standard library only, so that ``-h`` answers at once.
"""

import argparse
import dataclasses
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from models.config import MODEL_DEFAULTS
from utils.errors import CONTROL

_RANGE = re.compile(r'-[\d.]+:')


class _HelpFormatter(argparse.HelpFormatter):
    def _get_help_string(self, action):
        is_shown = action.option_strings and action.default not in (None, '', False, argparse.SUPPRESS)
        return f'{action.help} (default: %(default)s)' if is_shown and action.help else action.help


class Parser(argparse.ArgumentParser):
    """Shows defaults in ``-h``; a usage error is one line and exit status 2."""

    any_name: Collection[str] = ()  # arguments that may hold names of files in any bytes

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

    def parse_args(self, args=None, namespace=None):
        """As in argparse; text that JSON and the terminal cannot hold is a usage error, but for names of `any_name`."""
        values = super().parse_args(_join_ranges(sys.argv[1:] if args is None else args), namespace)
        for name, value in vars(values).items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and CONTROL.search(text) and name not in self.any_name:
                    self.error(f'{name}: {ascii(text)} has control characters or is not UTF-8')
        return values


def _join_ranges(args: Sequence[str]) -> list[str]:
    """Arguments with a range such as -6:6 joined to its flag: argparse would take it for another flag."""
    joined: list[str] = []
    for arg in args:
        if _RANGE.match(arg) and joined and re.fullmatch('--[^=]+', joined[-1]):
            joined[-1] += f'={arg}'
        else:
            joined.append(arg)
    return joined


def yes_no(text: str) -> bool:
    """Converts yes/no, true/false, 1/0 to bool; an argparse type."""
    if text.lower() in ('yes', 'true', '1', 'y'):
        return True
    if text.lower() in ('no', 'false', '0', 'n'):
        return False
    raise argparse.ArgumentTypeError(f'{text!r} is neither yes nor no')


def number(kind: type, low: float | None = None, high: float | None = None) -> Callable[[str], Any]:
    """Returns an argparse type: an int or float within [low, high]; None: any of 32 bits, or any finite one."""
    if kind is int and high is None:
        high = 2**31 - 1

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r} is not {"an integer" if kind is int else "a number"}') from None
        if kind is float and not math.isfinite(value):
            raise argparse.ArgumentTypeError(f'{text!r} is not a finite number')
        if (low is not None and value < low) or (high is not None and value > high):
            least, most = ('' if limit is None else as_text(limit) for limit in (low, high))
            limits = (least and f'at least {least}', most and f'at most {most}')
            raise argparse.ArgumentTypeError(f'{text} must be {" and ".join(filter(None, limits))}')
        return value

    return parse


def numbers(kind: type, low: float | None = None, high: float | None = None) -> Callable[[str], tuple]:
    """Returns an argparse type: comma-separated numbers, each as in `number`."""
    parse = number(kind, low, high)
    return lambda text: tuple(map(parse, text.split(',')))


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
    if is_list := typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
        settings |= {'nargs': '+'} if kind is str else {}
    converter = option.type or (yes_no if kind is bool else kind)
    if converter in (int, float):
        converter = (numbers if is_list else number)(converter, option.low, option.high)
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
    is_shown = default not in (None, '', ()) and '(default:' not in text
    return f'{text} (default: {as_text(default)})' if is_shown else text


def as_text(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, tuple | list):
        if not value:
            return 'none'
        return (' ' if all(isinstance(each, str) for each in value) else ',').join(map(as_text, value))
    if isinstance(value, bool):
        return ('no', 'yes')[value]
    return f'{value:g}' if isinstance(value, float) else str(value)


def as_flag(config_class: Any, name: str, value: Any) -> str:
    """A field of a dataclass and its value as on the command line, for messages: ``-ub no``."""
    flags = (*config_class.__dataclass_fields__[name].metadata['option'].flags, f'--{name}')
    return f'{flags[0]} {as_text(value)}'


def out_of_range(config: Any) -> str:
    """The first option of a configuration whose value its flag would refuse, with the value; empty: none."""
    for field in dataclasses.fields(config):
        option, value = field.metadata['option'], getattr(config, field.name)
        if value in [field.default, *(defaults.get(field.name) for defaults in MODEL_DEFAULTS.values())]:
            continue
        low, high = option.low, option.high
        values = value if isinstance(value, tuple) else (value,)
        is_within = all((low is None or each >= low) and (high is None or each <= high) for each in values)
        if not is_within or (option.choices and value not in option.choices):
            return f'{field.name} {value!r}'
    return ''


def given_options(values: argparse.Namespace, config_class: type) -> dict[str, Any]:
    """Fields of a dataclass that the command line sets, by name; see `add_options`."""
    names = {field.name for field in dataclasses.fields(config_class)}
    given = ((name, value) for name, value in vars(values).items() if name in names)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given}
