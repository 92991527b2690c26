"""What the figures of a comparison say, in sentences that are made of the figures and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamfer.training.metrics import excludes_zero, points, text

UNDISTURBED = 0.95
"""Share of the core from which on a time is said to be that of the classifier."""

_Figures = Mapping[str, Any]


def reading(figures: _Figures) -> list[str]:
    """The sentences for what `streamfer.training.compare.compare` found."""
    shown = figures["classifiers"]
    if len(shown) < 2:
        return list(_published(shown))
    return [
        *_accuracy(figures),
        *_time(shown),
        *_calibration(figures),
        *_classes(figures),
        *_published(shown),
    ]


def probability(p: float) -> str:
    """A p for people: "0.031", "below 0.0001"."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def timed(shown: Sequence[_Figures]) -> bool:
    """Whether every classifier was timed, and undisturbed."""
    return all(one["ms_per_face"] and one["ms_per_face"]["core_share"] >= UNDISTURBED for one in shown)


def _accuracy(figures: _Figures) -> Iterator[str]:
    shown = figures["classifiers"]
    order = sorted(shown, key=lambda one: -float(one["accuracy"]["value"]))
    best = order[0]
    yield f"{best['title']} has the highest accuracy: {text(best['accuracy'])}."
    for other in order[1:]:
        pair, difference = _pair(figures, other["title"], best["title"])
        if pair["distinguishable"]:
            said = f"lies {_away(difference)} below it and is distinguishable from it"
        else:
            said = f"lies {_away(difference)} below it and is not distinguishable from it"
        said += f" (p\u00a0{probability(pair['p_holm'])})"
        if timed(shown):
            said += f"; it takes {_ms(other) / _ms(best):.2f} times the time of {best['title']} per face"
        yield f"{other['title']} {said}."


def _pair(figures: _Figures, lower: str, higher: str) -> tuple[_Figures, tuple[float, float, float]]:
    """The pair of these two and how far `lower` lies below: value and interval."""
    for pair in figures["pairs"]:
        if {pair["first"], pair["second"]} == {lower, higher}:
            value, low, high = (float(pair["difference"][key]) for key in ("value", "low", "high"))
            return pair, (value, low, high) if pair["first"] == higher else (-value, -high, -low)
    raise KeyError(f"{lower}, {higher}")


def _away(difference: tuple[float, float, float]) -> str:
    shown = points(dict(zip(("value", "low", "high"), difference, strict=True)))
    value, _, interval = shown.partition(" ")
    return f"{value.lstrip('+')} points {interval}"


def _time(shown: Sequence[_Figures]) -> Iterator[str]:
    if all(one["ms_per_face"] is None for one in shown):
        return
    if not timed(shown):
        yield (
            "The times are not compared: other programs took more than "
            f"{100 - 100 * UNDISTURBED:.0f} % of the core while they were measured."
        )
        return
    fastest = min(shown, key=_ms)
    yield f"{fastest['title']} takes the least time: {_ms(fastest):.2f} ms a face on one core."
    front = [
        one["title"]
        for one in shown
        if not any(
            _ms(other) < _ms(one) and other["accuracy"]["value"] > one["accuracy"]["value"] for other in shown
        )
    ]
    if len(front) < len(shown):
        yield (
            f"For {_joined(front)}, nothing here is both faster and more accurate; for every other, "
            "something is."
        )


def _ms(one: _Figures) -> float:
    return float(one["ms_per_face"]["batch_1"]["value"])


def _calibration(figures: _Figures) -> Iterator[str]:
    row = next(row for row in figures["figures"] if row["key"] == "ece")
    titles = [one["title"] for one in figures["classifiers"]]
    same = [titles[place] for place in row["not_distinguishable"]]
    also = f"; not distinguishable from it: {_joined(same)}" if same else ""
    yield (
        f"{titles[row['best']]} has the lowest calibration error: {text(row['values'][row['best']])}{also}."
    )


def _classes(figures: _Figures) -> Iterator[str]:
    for one in figures["differences"]:
        apart = [
            f"{label} {points(of['f1']).partition(' ')[0]}"
            for label, of in one["per_class"].items()
            if excludes_zero(of["f1"])
        ]
        what = (
            f"differs in points of {', '.join(apart)}"
            if apart
            else "in every class, the interval of the difference holds 0"
        )
        yield f"F1 of {one['classifier']} against {one['minus']}: {what}."


def _published(shown: Sequence[_Figures]) -> Iterator[str]:
    for one in shown:
        for other in one["published"]:
            if other["same"]:
                yield (
                    f"{one['title']}: published {other['accuracy'] * 100:.1f} %, measured "
                    f"{text(one['accuracy'])}; the published figure lies {other['place']} the interval."
                )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
