"""The right numbers of a study that distills: its packs trained again, by the engine alone."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kdsearch.bench.faults.checks import Curves
from kdsearch.bench.faults.reading import Reading, TrialLine
from kdsearch.spec import load_spec
from kdsearch.trial import Metrics

if TYPE_CHECKING:
    from kdsearch.spec import StudySpec

_CHOICES = "executors.json"


class Reference:
    """Trains packs of studies again, each once for all rounds.

    So it does with the teacher.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, dict[int, dict[int, float | None]]] = {}

    def curves(self, found: Reading, document: Path, artifacts: Path) -> Curves:
        """Return each finished trial's validation accuracy by epoch.

        The curves are by the trials' seeds.

        Args:
            found: The trials; those that trained in one pack do so again.
            document: The study's file.
            artifacts: The study's; which way to train is taken from there, as ways differ in their rounding.
        """
        spec = load_spec(document)
        packs: dict[str | None, list[TrialLine]] = {}
        for trial in found.trials:
            if trial.state == "complete":
                packs.setdefault(trial.pack, []).append(trial)
        if (artifacts / _CHOICES).exists():
            shutil.copy(artifacts / _CHOICES, self._folder / _CHOICES)
        curves: dict[int, dict[int, float | None]] = {}
        for trials in packs.values():
            curves |= self._known_or_trained(spec, trials)
        return curves

    def _known_or_trained(
        self, spec: "StudySpec", trials: list[TrialLine]
    ) -> dict[int, dict[int, float | None]]:
        """Return a pack's curves, trained unless a round before trained it.

        That one had the same trials, trained in the same way.
        """
        choices = self._folder / _CHOICES
        way = choices.read_text() if choices.exists() else ""
        asked = [(trial.seed, trial.params, trial.setup) for trial in trials]
        key = json.dumps([spec.model_dump(mode="json", exclude={"artifacts", "resources"}), asked, way])
        if key not in self._known:
            self._known[key] = self._train(spec, trials)
        return self._known[key]

    def _train(self, spec: "StudySpec", trials: list[TrialLine]) -> dict[int, dict[int, float | None]]:
        import torch

        from kdsearch.distill import train_pack

        seeds = {trial.number: trial.seed for trial in trials}
        curves: dict[int, dict[int, float | None]] = {seed: {} for seed in seeds.values()}

        def report(epoch: int, metrics: Mapping[int, Metrics]) -> list[int]:
            for number, values in metrics.items():
                curves[seeds[number]][epoch] = values["val_accuracy"]
            return []

        threads = torch.get_num_threads()
        with TemporaryDirectory() as apart:
            torch.set_num_threads(1)  # as the study's workers have it
            shutil.copytree(self._folder, apart, dirs_exist_ok=True)
            members = [{**trial.params, "number": trial.number, "seed": trial.seed} for trial in trials]
            train_pack(spec.resolve(trials[0].setup, {}), members, artifacts=apart, report=report)
            torch.set_num_threads(threads)
            shutil.copytree(Path(apart) / "teachers", self._folder / "teachers", dirs_exist_ok=True)
        return curves
