"""The `ensemble` classifier: the averaged answers of others."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from streamfer.api import CombiningOptions, Component, MemberOptions, Members, Published
from streamfer.hookspecs import hookimpl

MEMBERS = (
    MemberOptions(name="cnn"),
    MemberOptions(name="cnn_bilstm"),
    MemberOptions(name="cnn_lstm"),
)
TEMPERATURE = 0.865
"""The members that ship, and the temperature that fits them: `python -m benchmarks.ensemble`."""


class EnsembleOptions(CombiningOptions):
    """Who answers, with which weight, and how sharp the mean is made."""

    members: Members = Field(
        MEMBERS,
        description="the classifiers whose answers are averaged, by name or with weight and options",
    )
    temperature: float | None = Field(
        None,
        ge=0.05,
        le=20,
        validate_default=True,
        description="softmax temperature of the mean: p^(1/T), normalised; below 1 it is more confident "
        "(default: what fits the members that ship, 1 for others)",
    )

    @field_validator("temperature")
    @classmethod
    def _of_the_members(cls, given: float | None, info: ValidationInfo) -> float:
        """What was fitted for the shipped members is nothing to others."""
        if given is not None:
            return given
        return TEMPERATURE if info.data.get("members") == MEMBERS else 1.0


@hookimpl
def streamfer_components() -> list[Component]:
    """The `ensemble` classifier."""
    return [
        Component(
            "classifier",
            "ensemble",
            "The averaged answers of other classifiers, by name and weight",
            "streamfer_classifiers.ensemble.mean:Ensemble",
            EnsembleOptions,
            published=(
                Published(0.7682, "test", "Pham, Vu, Tran: seven networks with a residual masking network"),
            ),
            combines=True,
        )
    ]
