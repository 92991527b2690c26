"""The one assertion that all contract checks use; unlike `assert` it also holds under `python -O`."""

from __future__ import annotations


def require(condition: object, text: str) -> None:
    """AssertionError with this text unless the condition holds."""
    if not condition:
        raise AssertionError(text)
