"""Writes the rows printed by the benchmarks into a document, between its two markers."""

import argparse
import sys
import time
from pathlib import Path

import measuring

BEGIN, END = '<!-- benchmark: written by scripts/benchmark/run_all.sh -->', '<!-- end of benchmark -->'


def main(argv: list[str] | None = None) -> int:
    """Replaces the table atomically; returns 1 if the document lacks the markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('rows', help='file of table rows')
    parser.add_argument('document', help='file that holds the markers')
    arguments = parser.parse_args(argv)
    from utils.files import write_text

    document = Path(arguments.document).read_text()
    before, found, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        print(f'{arguments.document}: no lines {BEGIN} and {END} in it', file=sys.stderr)
        return 1
    heading = f'{measuring.machine()}, {time.strftime("%B %Y")}:'
    rows = Path(arguments.rows).read_text().rstrip()
    write_text(arguments.document, f'{before}{BEGIN}\n\n{heading}\n\n{measuring.HEADER}\n{rows}\n\n{END}{after}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
