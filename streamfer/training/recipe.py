"""The recipe of a training run, as a YAML file: read, checked, and refused where it makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamfer.errors import UsageError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelOptions(_Section):
    """The network's shape, handed to `build` of the classifier's model.py."""

    widths: tuple[int, ...] = Field(
        default=(24, 48, 96, 256), description="Channels of each convolution stage."
    )
    convolutions: int = Field(default=2, ge=1, le=4, description="3×3 convolutions per stage.")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout before the last layer.")


class AugmentOptions(_Section):
    """How much a training image may differ from the file's; 0 switches a change off."""

    flip: bool = Field(default=True, description="Mirror half of the images.")
    rotation: float = Field(default=10.0, ge=0, le=90, description="Degrees, to either side.")
    shift: float = Field(default=0.08, ge=0, le=0.5, description="Share of the side, in both directions.")
    zoom: float = Field(default=0.1, ge=0, lt=1, description="Share by which the image grows or shrinks.")
    brightness: float = Field(default=25.0, ge=0, le=255, description="Gray levels added or taken.")
    contrast: float = Field(
        default=0.2, ge=0, lt=1, description="Share by which differences from mid-gray change."
    )
    erase: float = Field(
        default=0.25, ge=0, le=1, description="Share of images that lose one square (Zhong 2017)."
    )


class Recipe(_Section):
    """Everything that decides a training run except the data and the machine."""

    name: str = Field(default="cnn", min_length=1)
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    architecture: str = Field(
        default="streamfer_classifiers.cnn.model:build",
        pattern=r"^[\w.]+:\w+$",
        description="Where the network's `build` is: module:function.",
    )
    seed: int = Field(default=1, ge=0)
    epochs: int = Field(default=24, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(
        default=2e-3, gt=0, description="Peak, reached after the warm-up; then a cosine to 0."
    )
    warmup_epochs: float = Field(default=2.0, ge=0)
    weight_decay: float = Field(
        default=0.05, ge=0, description="AdamW (Loshchilov & Hutter 2019); kernels only."
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    ferplus: float = Field(
        default=0.0, ge=0, le=1, description="Share of the target that comes from FER+ votes."
    )
    ema: float = Field(
        default=0.998, ge=0, lt=1, description="Momentum of the averaged weights, per step; 0: off."
    )
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    model: ModelOptions = ModelOptions()
    augment: AugmentOptions = AugmentOptions()

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} must be below epochs {self.epochs}")
        return self


def load(path: Path) -> Recipe:
    """Read a recipe; raises `UsageError` with one line that names the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return Recipe.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UsageError(f"{path}: {key}: {first['msg']}") from error
