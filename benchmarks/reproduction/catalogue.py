"""Which experiments there are: the data, the recipe, what was published, and what a run costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.reproduction import classes, leaks
from benchmarks.reproduction.faces import with_faces
from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.training.recipe import Recipe, load

RECIPES = Path(__file__).parents[2] / "configs/train/reproduction"


class Sources:
    """The data that all experiments are made of; what takes long is done once, when it is first asked for."""

    def __init__(self, fer2013: Dataset, ckplus: Dataset | None = None) -> None:
        self.fer2013 = fer2013
        self._ckplus = ckplus

    @property
    def ckplus(self) -> Dataset:
        """CK+48; `UsageError` where it was not given."""
        if self._ckplus is None:
            raise UsageError("CK+48 is needed: give it with --ckplus FILE")
        return self._ckplus

    @property
    def has_ckplus(self) -> bool:
        return self._ckplus is not None

    @cached_property
    def faces(self) -> Dataset:
        """FER2013, with what shows one face known."""
        return with_faces(self.fer2013)

    def hashes(self, needs_ckplus: bool) -> dict[str, str]:
        """The sha256 of each source that an experiment depends on."""
        found = {"fer2013": self.fer2013.sha256}
        return found | ({"ckplus": self.ckplus.sha256} if needs_ckplus else {})


@dataclass(frozen=True)
class Experiment:
    """One training run. `recipe` is a file; `minutes` an estimate of an epoch on one core, made from a few
    steps; `said` what was published of it, in words; `seed` takes the place of the recipe's, if any; `epochs`
    is at most how many of the recipe's are run, where there is no time for all."""

    name: str
    title: str
    group: str
    recipe: Path
    data: Callable[[Sources], Dataset]
    minutes: float
    said: str = "–"
    needs_ckplus: bool = False
    seed: int | None = None
    epochs: int | None = None

    def load_recipe(self) -> Recipe:
        recipe = load(self.recipe)
        seed = recipe.seed if self.seed is None else self.seed
        epochs = recipe.epochs if self.epochs is None else min(recipe.epochs, self.epochs)
        return recipe.model_copy(update={"seed": seed, "epochs": epochs})


GROUPS = {
    "rows": "CNN against CNN-LSTM over pixel rows",
    "leaks": "CNN against CNN-BiLSTM: a leak audit",
    "stacked": "A stacked CNN, four classes, FER2013 and CK+",
    "mobilenet": "MobileNetV2 on balanced classes",
}
"""The parts of the page, in its order."""

SEEDS = (1, 2)
"""Of the runs on CK+ alone: with so few images, what comes of a run depends on its seed."""


def _ckplus(drawn: str, data: Callable[[Dataset], Dataset], seed: int) -> Experiment:
    return Experiment(
        f"stacked-ckplus-{drawn}-{seed}",
        f"CK+ alone, drawn by {drawn}, seed {seed}",
        "stacked",
        RECIPES / "stacked-ckplus.yaml",
        lambda sources: data(sources.ckplus),
        0.15,
        "97.9 % validation",
        needs_ckplus=True,
        seed=seed,
    )


EXPERIMENTS = (
    Experiment(
        "cnn",
        "CNN",
        "rows",
        RECIPES / "cnn.yaml",
        lambda sources: sources.fer2013,
        1.1,
        "63.25 % test",
    ),
    Experiment(
        "cnn_lstm",
        "CNN-LSTM, one pixel row a step",
        "rows",
        RECIPES / "cnn_lstm.yaml",
        lambda sources: sources.fer2013,
        2.1,
        "46.82 % test",
    ),
    Experiment(
        "small-cnn-clean",
        "CNN, faces whole",
        "leaks",
        RECIPES / "small-cnn.yaml",
        lambda sources: leaks.clean(sources.faces),
        0.5,
        "70 % validation",
    ),
    Experiment(
        "bilstm-clean",
        "CNN-BiLSTM, faces whole",
        "leaks",
        RECIPES / "bilstm.yaml",
        lambda sources: leaks.clean(sources.faces),
        0.6,
        "95 % validation",
    ),
    Experiment(
        "bilstm-duplicates",
        "CNN-BiLSTM, duplicates cross",
        "leaks",
        RECIPES / "bilstm.yaml",
        lambda sources: leaks.duplicates_cross(sources.faces),
        0.6,
        "95 % validation",
    ),
    Experiment(
        "bilstm-copies",
        "CNN-BiLSTM, augmented copies cross",
        "leaks",
        RECIPES / "bilstm-copies.yaml",
        lambda sources: leaks.copies_cross(sources.faces),
        2.5,
        "95 % validation",
    ),
    Experiment(
        "stacked-fer2013",
        "FER2013 alone",
        "stacked",
        RECIPES / "stacked.yaml",
        lambda sources: classes.four_classes(sources.fer2013),
        8.7,
        "72.3 % validation",
    ),
    *(_ckplus("image", classes.ckplus_by_image, seed) for seed in SEEDS),
    *(_ckplus("subject", classes.ckplus_by_subject, seed) for seed in SEEDS),
    Experiment(
        "stacked-both",
        "FER2013 and CK+",
        "stacked",
        RECIPES / "stacked.yaml",
        lambda sources: classes.with_ckplus(sources.fer2013, sources.ckplus),
        8.9,
        "71.8 % validation",
        needs_ckplus=True,
    ),
    Experiment(
        "mobilenet-0.999",
        "batch normalisation follows with 0.999",
        "mobilenet",
        RECIPES / "mobilenet-0.999.yaml",
        lambda sources: classes.balanced(sources.faces),
        0.5,
        "42.7 %",
    ),
    Experiment(
        "mobilenet-0.9",
        "batch normalisation follows with 0.9",
        "mobilenet",
        RECIPES / "mobilenet-0.9.yaml",
        lambda sources: classes.balanced(sources.faces),
        0.5,
        "42.7 %",
    ),
)


def chosen(names: list[str], experiments: tuple[Experiment, ...]) -> list[Experiment]:
    """The experiments of these names or groups, in the order of the catalogue; all without any.

    `UsageError` for a name that is neither.
    """
    known = {one.name for one in experiments} | {one.group for one in experiments}
    for name in names:
        if name not in known:
            options = ", ".join([*GROUPS, *(one.name for one in experiments)])
            raise UsageError(f"{name}: no experiment and no group of them; expected one of {options}")
    return [one for one in experiments if not names or one.name in names or one.group in names]
