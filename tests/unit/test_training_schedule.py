"""The learning rate over a run, plateaus and early stopping."""

from __future__ import annotations

from typing import Any

import pytest

from streamfer.training.recipe import PlateauOptions, Recipe
from streamfer.training.schedule import Watch, learning_rate, same_until


def recipe(**options: Any) -> Recipe:
    return Recipe(classifier="cnn", **({"epochs": 10, "learning_rate": 1.0, "warmup_epochs": 2} | options))


def rates(one: Recipe, steps: int = 10) -> list[float]:
    return [learning_rate(one, step, steps) for step in range(one.epochs * steps)]


@pytest.mark.parametrize("schedule", ["cosine", "trapezoid", "plateau", "constant"])
def test_it_rises_in_a_line_to_its_height(schedule: str) -> None:
    found = rates(recipe(schedule=schedule, cooldown_epochs=3 if schedule == "trapezoid" else 0))
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert max(found) == pytest.approx(1.0)


def test_a_cosine_is_half_down_half_way() -> None:
    found = rates(recipe())
    assert found[60] == pytest.approx(0.5)
    assert found[-1] < 0.001 and sorted(found[20:], reverse=True) == found[20:]


def test_a_trapezoid_is_flat_until_its_cooldown_and_falls_in_a_line() -> None:
    found = rates(recipe(schedule="trapezoid", cooldown_epochs=3))
    assert set(found[20:71]) == {1.0}
    assert found[71:] == pytest.approx([(100 - step) / 30 for step in range(71, 100)])


def test_without_a_warm_up_the_first_step_has_the_full_rate() -> None:
    assert learning_rate(recipe(warmup_epochs=0, schedule="constant"), 0, 10) == 1.0


def test_a_plateau_lowers_the_rate() -> None:
    one = recipe(schedule="plateau", plateau=PlateauOptions(patience=2, factor=0.1))
    watch = Watch()
    assert [watch.update(one, epoch, 0.5) for epoch in (1, 2, 3)] == [True, False, False]
    assert watch.factor == pytest.approx(0.1) and watch.best_epoch == 1
    assert learning_rate(one, 50, 10, watch.factor) == pytest.approx(0.1)
    watch.update(one, 4, 0.4)
    assert watch.factor == pytest.approx(0.1), "it waits again after each fall"
    watch.update(one, 5, 0.4)
    assert watch.factor == pytest.approx(0.01)


def test_only_plateaus_lower_the_rate_so() -> None:
    watch = Watch()
    for epoch in range(1, 20):
        watch.update(recipe(), epoch, 0.5)
    assert watch.factor == 1.0


def test_early_stopping_counts_from_the_best() -> None:
    one = recipe(early_stopping=3)
    watch = Watch()
    over = []
    for epoch, accuracy in enumerate((0.1, 0.5, 0.4, 0.45, 0.3), start=1):
        watch.update(one, epoch, accuracy)
        over.append(watch.over(one, epoch))
    assert over == [False, False, False, False, True]
    assert not watch.over(recipe(early_stopping=0), 99)


def test_a_trapezoid_can_be_made_longer_and_a_cosine_cannot() -> None:
    flat, longer = (recipe(schedule="trapezoid", cooldown_epochs=3, epochs=n) for n in (10, 20))
    assert same_until(flat, longer, 7) and not same_until(flat, longer, 8)
    assert not same_until(recipe(), recipe(epochs=20), 5)
    assert same_until(recipe(), recipe(epochs=20), 2)
