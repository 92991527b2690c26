"""The recipe of a training run, as a YAML file: read, checked, and refused where it makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamfer.errors import UsageError
from streamfer.types import Window


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
        default=0.25, ge=0, le=1, description="Share of images that lose one square (Zhong et al. 2020)."
    )


class PlateauOptions(_Section):
    """`schedule: plateau`: the learning rate falls when PublicTest accuracy no longer rises."""

    patience: int = Field(default=5, ge=1, description="Epochs without a new best before the rate falls.")
    factor: float = Field(default=0.5, gt=0, lt=1, description="What the rate is multiplied by.")


class WindowOptions(_Section):
    """What a network of windows of frames looks at: so many frames of a face, so far apart."""

    frames: int = Field(ge=1, le=256, description="The newest frame and those before it.")
    stride: int = Field(default=1, ge=1, le=64, description="Every so-manieth frame of `fps`.")
    fps: float = Field(gt=0, le=240, description="Frames per second; others are resampled to it, by time.")
    max_gap: float = Field(
        default=0.5, gt=0, le=60, description="Seconds: a face unseen for longer begins a new window."
    )

    @property
    def window(self) -> Window:
        """The same as the service has it."""
        return Window(self.frames, self.stride, self.fps, self.max_gap)


class SyntheticOptions(_Section):
    """Clips that are made of stills: one face, or a fade from one to another, in synthetic motion.

    How far the motion goes is what `augment` says; there `erase` is the share of clips in which something
    covers a square of the face for a while.
    """

    clips: int = Field(default=6000, ge=1, description="Made of Training.")
    public_clips: int = Field(default=600, ge=1, description="Made of PublicTest.")
    seconds: float = Field(default=3.2, gt=0, le=60, description="Of each clip.")
    fades: float = Field(
        default=0.6, ge=0, le=1, description="Share of clips that change to a look-alike of another class."
    )
    fade_seconds: tuple[float, float] = Field(
        default=(0.1, 0.5), description="How long the change takes: the shortest and the longest."
    )
    interruptions: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="How often a second, on average, a look-alike of another class shows for a moment and "
        "counts for nothing, as a mouth does that speaks.",
    )
    interruption_seconds: tuple[float, float] = Field(
        default=(0.1, 0.3), description="How long such a moment lasts: the shortest and the longest."
    )
    hertz: float = Field(default=1.0, gt=0, description="The highest frequency of the motion.")
    jitter: float = Field(
        default=0.01,
        ge=0,
        le=0.2,
        description="Share of the side by which a face is misplaced, frame by frame.",
    )
    noise: float = Field(default=4.0, ge=0, le=64, description="Of the camera, in gray levels.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("fade_seconds", "interruption_seconds"):
            shortest, longest = getattr(self, name)
            if not 0 <= shortest <= longest < self.seconds:
                raise ValueError(
                    f"{name} {shortest:g}, {longest:g}: expected two rising numbers from 0 up, below "
                    f"seconds {self.seconds:g}"
                )
        return self


class Recipe(_Section):
    """Everything that decides a training run except the data and the machine."""

    classifier: str = Field(description="Name of a classifier that is a network: `streamfer plugins`.")
    plugins: tuple[Path, ...] = Field(
        default=(), description="Local plugin files, as in a configuration; relative to the recipe."
    )
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$", description="Of the model's card.")
    seed: int = Field(default=1, ge=0)
    epochs: int = Field(default=24, ge=1)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw",
        description="AdamW (Loshchilov & Hutter 2019), Adam, or SGD with Nesterov's momentum.",
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="The highest, reached after the warm-up.")
    warmup_epochs: float = Field(default=2.0, ge=0, description="Epochs in which it rises from 0.")
    schedule: Literal["cosine", "trapezoid", "plateau", "constant"] = Field(
        default="cosine",
        description="After the warm-up: half a cosine to 0; constant, and in the last `cooldown_epochs` in a "
        "line to 0; lower with each plateau; constant.",
    )
    cooldown_epochs: float = Field(default=0.0, ge=0)
    plateau: PlateauOptions = PlateauOptions()
    early_stopping: int = Field(
        default=0,
        ge=0,
        description="Stop after so many epochs without a new best on PublicTest and take the best; 0: never.",
    )
    min_delta: float = Field(
        default=0.0, ge=0, lt=1, description="By how much an accuracy must exceed the best to be a new best."
    )
    weight_decay: float = Field(default=0.05, ge=0, description="Of kernels only.")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="Szegedy et al. 2016.")
    ferplus: float = Field(
        default=0.0, ge=0, le=1, description="Share of the target that comes from FER+ votes."
    )
    ema: float = Field(
        default=0.998, ge=0, lt=1, description="Momentum of the averaged weights, per step; 0: off."
    )
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    flip_average: bool = Field(
        default=False,
        description="The exported model looks at the face and its mirror image and averages; twice the time.",
    )
    initial: Path | None = Field(
        default=None,
        description="Keras file of a network: the first layers start from its, as far as they are alike.",
    )
    train_encoder: bool = Field(
        default=True,
        description="Of a network of windows: false leaves the encoder as it is in `initial`, and what it "
        "says of each frame is computed once.",
    )
    copies: int = Field(
        default=0,
        ge=0,
        le=64,
        description="With train_encoder: false, so many copies of each clip, altered as `augment` says.",
    )
    window: WindowOptions | None = Field(
        default=None, description="Train a network of windows of frames, on sequences."
    )
    synthetic: SyntheticOptions | None = Field(
        default=None, description="The sequences are made of stills by synthetic motion."
    )
    model: dict[str, Any] = Field(default_factory=dict, description="The network's own options.")
    augment: AugmentOptions = AugmentOptions()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} must be below epochs {self.epochs}")
        trapezoid = self.schedule == "trapezoid"
        if trapezoid and not 0 < self.cooldown_epochs <= self.epochs - self.warmup_epochs:
            raise ValueError(
                f"cooldown_epochs {self.cooldown_epochs:g} must be above 0 and at most "
                f"{self.epochs - self.warmup_epochs:g}, what the warm-up leaves of {self.epochs} epochs"
            )
        if self.cooldown_epochs and not trapezoid:
            raise ValueError("cooldown_epochs belongs to schedule: trapezoid")
        if self.window is None and (self.synthetic is not None or not self.train_encoder):
            key = "synthetic" if self.synthetic is not None else "train_encoder"
            raise ValueError(f"{key} belongs to networks of windows of frames; set window: {{frames: …}}")
        if self.copies and (self.train_encoder or self.synthetic is not None):
            raise ValueError("copies are made of real clips for a frozen encoder: train_encoder: false")
        if not self.train_encoder and self.initial is None:
            raise ValueError("train_encoder: false needs initial, the model that the encoder is taken from")
        return self


def load(path: Path) -> Recipe:
    """Read a recipe, or the one in a model's card.json; `UsageError` is one line that names the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        if isinstance(content, dict) and "sha256" in content:  # a card
            content = content.get("recipe")
        recipe = Recipe.model_validate({} if content is None else content)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error, 'recipe')}") from error
    return recipe.model_copy(update={"plugins": tuple(path.parent / file for file in recipe.plugins)})


def first_problem(error: ValidationError, what: str) -> str:
    """The first of pydantic's complaints as "key: complaint"; `what` stands for the whole."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or what
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"
