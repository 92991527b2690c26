"""What a run looks like."""

from streamfer.cli.live_display import Display, JsonLines, show

__all__ = ["Display", "JsonLines", "show"]
