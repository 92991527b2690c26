"""A local plugin with small rules to be members of ensembles: of other crops, of labels in another order."""

from __future__ import annotations

import shutil
from pathlib import Path

PLUGIN = '''
from pathlib import Path
import numpy as np
from pydantic import Field
from streamfer.api import Component, MemberOptions, Options, network
from streamfer.hookspecs import hookimpl
from streamfer.types import CropSpec

class RuleOptions(Options):
    bias: float = Field(0.0, ge=-1, le=1)
    secret: str = ""
    table: Path | None = None

class Own(Options):
    weight: int

class Rule:
    """(dark, bright) by the mean of its own crop, which it insists on."""
    crop, turned, columns = CropSpec(), False, 2

    def __init__(self, options):
        self.options = options

    def predict(self, crops):
        assert crops.shape[1:] == self.crop and crops.dtype == np.uint8, crops.shape
        bright = np.clip(crops.mean(axis=(1, 2, 3), dtype=float) / 255 + self.options.bias, 0.02, 0.98)
        rows = np.stack([1 - bright, bright, bright], axis=1)[:, :self.columns].astype(np.float32)
        return rows[:, ::-1] if self.turned else rows

class Gray(Rule):
    pass

class Small(Rule):
    crop, turned = CropSpec(16, 24, 1), True

class Colour(Rule):
    crop = CropSpec(32, 24, 3)

class Large(Rule):
    crop = CropSpec(512, 512, 3)

class Wrong(Rule):
    columns = 3

class Alone(Rule):
    pass

@hookimpl
def streamfer_components():
    def one(rule, labels=("dark", "bright"), options=RuleOptions):
        name = rule.__name__.lower()
        return Component("classifier", name, "for a test", f":{rule.__name__}", options, crop=rule.crop,
                         labels=labels[::-1] if rule.turned else labels)
    return [*(one(rule) for rule in (Gray, Small, Colour, Large, Wrong)),
            one(Alone, ("dark", "dim")),
            Component("classifier", "own", "for a test", ":Gray", Own, labels=("dark", "bright")),
            network("untrained", "for a test", build=":build")]
'''
RULES = ("gray", "small", "colour")
CNN = Path(__file__).parents[1] / "plugins" / "streamfer_classifiers" / "cnn"


def write_plugin(folder: Path) -> Path:
    """The file of the rules."""
    file = folder / "rules.py"
    file.write_text(PLUGIN)
    return file


def shipped_cnn(folder: Path) -> Path:
    """A copy of the model that `cnn` ships, by its card: one more model with all seven labels."""
    folder.mkdir(parents=True)
    for name in ("card.json", "cnn.tflite"):
        shutil.copy(CNN / name, folder)
    return folder / "card.json"
