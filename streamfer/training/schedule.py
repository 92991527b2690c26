"""How the learning rate goes over a run, and when a run has seen its best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamfer.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int, factor: float = 1.0) -> float:
    """The rate of one step, counted from 0 over the whole run, with `steps` steps an epoch.

    `factor` is what plateaus have made of it (`Watch.factor`).
    """
    warmup, total = recipe.warmup_epochs * steps, recipe.epochs * steps
    share = min((step + 1) / warmup, 1.0) if warmup else 1.0
    if recipe.schedule == "cosine":
        progress = max(step - warmup, 0.0) / (total - warmup)
        share = min(share, (1 + math.cos(math.pi * progress)) / 2)
    elif recipe.schedule == "trapezoid":
        share = min(share, (total - step) / (recipe.cooldown_epochs * steps))
    elif recipe.schedule == "plateau":
        share *= factor
    return recipe.learning_rate * share


def same_until(one: Recipe, other: Recipe, epochs: int) -> bool:
    """Whether two recipes, otherwise equal, have one learning rate over the first `epochs` epochs."""
    steps = 100
    return all(
        learning_rate(one, step, steps) == learning_rate(other, step, steps) for step in range(epochs * steps)
    )


@dataclass
class Watch:
    """Follows PublicTest accuracy: the best so far, how long ago, and the plateaus since the start."""

    best: float = -math.inf
    best_epoch: int = 0
    waited: int = 0
    factor: float = 1.0

    def update(self, recipe: Recipe, epoch: int, accuracy: float) -> bool:
        """Take in the accuracy after an epoch (from 1); returns whether it is a new best."""
        if accuracy > self.best + recipe.min_delta:
            self.best, self.best_epoch, self.waited = accuracy, epoch, 0
            return True
        self.waited += 1
        if recipe.schedule == "plateau" and self.waited >= recipe.plateau.patience:
            self.factor *= recipe.plateau.factor
            self.waited = 0
        return False

    def over(self, recipe: Recipe, epoch: int) -> bool:
        """Whether the run is to stop early after this epoch."""
        return 0 < recipe.early_stopping <= epoch - self.best_epoch
