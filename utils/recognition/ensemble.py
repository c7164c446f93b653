"""Several models that recognise together, with the interface of `Recognizer`: mean of posteriors, and ROVER."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from utils.config import RunFlags
from utils.data.features import extract
from utils.data.index import Index
from utils.decode.decoder import load_decoder, load_joint_decoder, warn_of_other_weights, warn_of_runaways
from utils.decode.hypothesis import Hypothesis
from utils.decode.rover import candidates, rover
from utils.decode.text_mean import TextMeanDecoder
from utils.errors import DataError
from utils.recognition import recognizer
from utils.recognition.alignment import PosteriorKeeper
from utils.recognition.ensemble_options import JOINED, POSTERIORS, Team
from utils.recognition.recognizer import Recognizer
from utils.recognition.report import Evaluation, References

UTTERANCES_AT_ONCE = 512  # whose posteriors are held, of each model

Features = tuple[np.ndarray, ...]  # of an utterance for each member


class Ensemble(ABC):
    """Recognizers of the same vocabulary; a subclass has `recognize` and `secs_per_frame`.

    Args:
      members: the recognizers, the best first.
      paths: their run directories.

    Attributes:
      vocabulary, config: as in `Recognizer`, those of the first member.
      secs_per_frame: seconds between frames of a hypothesis.
      weights: `weights_id` of each member, joined.
    """

    secs_per_frame: float

    def __init__(self, members: Sequence[Recognizer], paths: Sequence[str]):
        self._members, self._paths = members, paths
        self.vocabulary, self.config = members[0].vocabulary, members[0].config
        self.weights = JOINED.join(member.weights for member in members)

    def extract(self, samples: np.ndarray) -> Features:
        """Features of samples at 16 kHz for each member."""
        known = {str(member.spec): extract(samples, member.spec) for member in self._members}
        return tuple(known[str(member.spec)] for member in self._members)

    def prepare(self, index: Index) -> References:
        """Prepares an index for `evaluate`; a `DataError` where a member takes features of another kind."""
        for member, path in zip(self._members, self._paths, strict=True):
            if str(member.spec) != str(index.spec):
                raise DataError(
                    f'{index.index_paths[0]}: features {index.spec}, but the run {path} takes {member.spec}; test runs '
                    f'of different features by themselves, or transcribe with run_predict.py'
                )
        return self._members[0].prepare(index)

    def evaluate(self, references: References, batch_size: int, keep_posteriors: bool = False) -> Evaluation:
        """Recognises and scores an index, as `Recognizer.evaluate`; there are no loss and no joint posteriors."""
        assert not keep_posteriors, 'open_team refuses it'
        index = references.index
        assert index.spec, 'prepare has compared it'
        hypotheses: list[Any] = [None] * len(index)
        order = np.argsort(-index.frames, kind='stable')
        for rows in np.split(order, range(UTTERANCES_AT_ONCE, len(order), UTTERANCES_AT_ONCE)):
            features = [(index.features(row, index.spec.featlen),) * len(self._members) for row in rows]
            names = [index.utterance_id(row) for row in rows]
            for row, found in zip(rows, self.recognize(features, batch_size, names), strict=True):
                hypotheses[row] = found
        return Evaluation.score(references, hypotheses, self.vocabulary)

    @abstractmethod
    def recognize(self, features: Sequence[Features], batch_size: int, names: Sequence[str] = ()) -> list[Hypothesis]:
        """Decodes utterances; the order is kept.

        Args:
          features: features of each utterance, as `extract` returns them.
          batch_size: utterances per batch.
          names: names of the utterances, for warnings; none: no warnings.
        """

    def _of_members(self, features: Sequence[Features], batch_size: int) -> list[list[Any]]:
        """What each member's decoder returns, for each utterance."""
        columns = zip(*features, strict=True)
        return [member.recognize(each, batch_size) for member, each in zip(self._members, columns, strict=True)]


class AveragingEnsemble(Ensemble):
    """Decodes with the mean of the members' log-probabilities of a text; their decoders are `PosteriorKeeper`."""

    def __init__(self, members: Sequence[Recognizer], paths: Sequence[str], decoder: TextMeanDecoder):
        super().__init__(members, paths)
        self._decoder = decoder
        self.secs_per_frame = members[0].secs_per_frame

    def recognize(self, features, batch_size, names=()):
        return self._decoder.decode(self._of_members(features, batch_size))


class VotingEnsemble(Ensemble):
    """Lets the members decode by themselves and vote for words (ROVER)."""

    def __init__(self, members: Sequence[Recognizer], paths: Sequence[str]):
        super().__init__(members, paths)
        self.secs_per_frame = min(member.secs_per_frame for member in members)

    def recognize(self, features, batch_size, names=()):
        found = self._of_members(features, batch_size)
        for member, hypotheses in zip(self._members, found, strict=True):
            if names and member.config.family == 'attention':
                warn_of_runaways(names, hypotheses)
        space_id = self.vocabulary.tokens.index(' ') if self.vocabulary.has_space else None
        scales = [member.secs_per_frame / self.secs_per_frame for member in self._members]
        texts = (
            [candidates(each, space_id, scale) for each, scale in zip(utterance, scales, strict=True)]
            for utterance in zip(*found, strict=True)
        )
        return [rover(each, space_id) for each in texts]


def load_team(team: Team, from_posteriors: bool = False, devices: RunFlags | None = None) -> Recognizer | Ensemble:
    """Loads the models and decoders of runs that recognise together, or of a single one.

    Args:
      team: runs and how each decodes, from `open_team`.
      from_posteriors: of a single run: decode posteriors even greedily, so that they can be kept.
      devices: as for `load_recognizer`.

    Raises:
      DataError: a run without the checkpoint; see also `load_decoder`.
    """
    tokens, paths = team.runs[0].vocabulary.tokens, [run.path for run in team.runs]
    if team.combine == POSTERIORS:
        (options,) = team.options
        decoder = load_joint_decoder(options, tokens)
        keeper: Any = PosteriorKeeper()
        members = [recognizer.load_recognizer(run, options.checkpoint, keeper, devices) for run in team.runs]
        combined = AveragingEnsemble(members, paths, decoder)
        warn_of_other_weights(options, combined.weights)
        return combined
    decoders = [load_decoder(each, tokens, from_posteriors) for each in team.options]
    members = [
        recognizer.load_recognizer(run, each.checkpoint, decoder, devices)
        for run, each, decoder in zip(team.runs, team.options, decoders, strict=True)
    ]
    for each, member in zip(team.options, members, strict=True):
        warn_of_other_weights(each, member.weights)
    return VotingEnsemble(members, paths) if team.combine else members[0]
