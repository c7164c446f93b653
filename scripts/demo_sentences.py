"""Grammar of the demo corpus: commands to a smart home and a diary, with about sixty words."""

import random

ROOMS = ('kitchen', 'bedroom', 'garden', 'office')
DEVICES = ('light', 'radio', 'heater', 'music')
COLOURS = ('red', 'green', 'blue', 'white')
OPENINGS = ('door', 'window', 'gate', 'box')
NAMES = ('david', 'anna', 'peter', 'maria')
DAYS = ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')
HOURS = ('one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve')
TENS = ('ten', 'twenty', 'thirty', 'forty', 'fifty')
PARTS = ('morning', 'evening')

SLOTS = {
    'room': ROOMS,
    'device': DEVICES,
    'colour': COLOURS,
    'opening': OPENINGS,
    'name': NAMES,
    'day': DAYS,
    'hour': HOURS,
    'tens': TENS,
    'units': HOURS[:9],
    'part': PARTS,
    'switch': ('on', 'off'),
    'move': ('open', 'close'),
    'kindly': ('', 'please '),
}

PATTERNS = (
    '{kindly}turn {switch} the {device} in the {room}',
    '{kindly}turn the {device} {switch} at {hour} {tens}',
    '{kindly}{move} the {colour} {opening} in the {room}',
    '{kindly}{move} the {opening} at {hour} {tens} {units}',
    'set the timer for {tens} {units} minutes',
    'set the {room} timer for {hour} minutes',
    'wake me at {hour} {tens} {units} in the {part}',
    'call {name} on {day} {part} at {hour}',
    'meet {name} and {name} on {day} at {hour} {tens}',
    'tell {name} to {move} the {opening} on {day}',
    'the number of {name} is {hour} {hour} {hour} {units} {units}',
)


def make_sentences(count: int, rng: random.Random) -> list[str]:
    """Draws sentences, no two of them alike.

    Args:
      count: number of sentences; the grammar generates some tens of thousands.
      rng: random generator of the choices.

    Returns:
      `count` different sentences in lower case.
    """
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        pattern = rng.choice(PATTERNS)
        # One draw per slot, in text order: two slots of the same kind may get different words.
        parts = pattern.replace('{', '\0{').replace('}', '}\0').split('\0')
        sentences[''.join(rng.choice(SLOTS[part[1:-1]]) if part.startswith('{') else part for part in parts)] = None
    return list(sentences)
