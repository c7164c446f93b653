"""Pages and comparisons of a test: gathers what they need before the model runs, and writes them after."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.data.index import Index
from utils.data.sources import Source, read_sources
from utils.data.vocabulary import Vocabulary
from utils.recognition.comparison import Comparison, read_others
from utils.recognition.error_analysis import ErrorAnalysis
from utils.recognition.report import Evaluation
from utils.recognition.report_page import ScoredIndex, write_pages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pages:
    """Pages of a test to be written.

    Attributes:
      indexes: indexes by name.
      sources: speakers and recordings of each index; empty: no pages are written.
      others: path of the other test, and its texts for each index; None: no comparison.
    """

    indexes: Mapping[str, Index]
    sources: Mapping[str, list[Source]]
    others: tuple[str, Mapping[str, list[str]]] | None

    @classmethod
    def prepare(
        cls, indexes: Mapping[str, Index], vocabulary: Vocabulary, has_pages: bool, other: str | None
    ) -> 'Pages':
        """Reads the sources, for pages, and the hypotheses of another test; errors as in `read_others`."""
        others = (other, read_others(other, indexes, vocabulary)) if other is not None else None
        sources = {name: read_sources(index) for name, index in indexes.items()} if has_pages else {}
        return cls(indexes, sources, others)

    def write(
        self, results: Mapping[str, Evaluation], out_dir: Path, run_dir: str, decoding: Mapping[str, Any]
    ) -> None:
        """Prints the comparisons and writes the pages; arguments as in `report.report` and `write_pages`."""
        if not self.sources and not self.others:
            return
        scored = []
        for name, index in self.indexes.items():
            analysis, comparison = ErrorAnalysis.of(results[name]), None
            if self.others:
                other, texts = self.others
                comparison = Comparison.of(analysis, texts[name], other)
                print(f'{name}: {comparison.difference(analysis)}. {comparison.verdict()}', flush=True)
            scored.append(ScoredIndex(name, index, self.sources.get(name, []), analysis, comparison))
        for path in write_pages(scored, out_dir, run_dir, decoding) if self.sources else []:
            log.info('report: %s', path)
