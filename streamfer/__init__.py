"""streamfer: facial-expression analytics on video, as a service and as a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamfer.stills import predict as predict
    from streamfer.types import LABELS as LABELS
    from streamfer.types import Face as Face

__version__ = "0.1.0"
__all__ = ["LABELS", "Face", "__version__", "predict"]


def __getattr__(
    name: str,
) -> Any:  # keeps `import streamfer` light: OpenCV and LiteRT come with the first use
    if name == "predict":
        from streamfer.stills import predict

        return predict
    if name in ("LABELS", "Face"):
        import streamfer.types

        return getattr(streamfer.types, name)
    raise AttributeError(f"module 'streamfer' has no attribute {name!r}")
