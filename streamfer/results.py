"""The JSON Schema of a result line."""

from __future__ import annotations

from typing import Any, get_args

from streamfer.types import LABELLED, FaceStatus

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line of results.jsonl, as docs/results.md describes it.

    Written by hand because the types alone cannot say which statuses come with a label.
    """
    probabilities = {"type": "object", "additionalProperties": _SHARE, "minProperties": 1}
    raw = {
        "type": "object",
        "properties": {"label": {"type": "string"}, "confidence": _SHARE, "probabilities": probabilities},
        "required": ["label", "confidence", "probabilities"],
        "additionalProperties": False,
        "description": "What the classifier itself said, where its answers are smoothed.",
    }
    window = {
        "type": "object",
        "properties": {
            "frames": {"type": "integer", "minimum": 1, "description": "The places of the window."},
            "filled": {
                "type": "integer",
                "minimum": 1,
                "description": "How many the face has filled so far.",
            },
            "span_ms": {
                "type": "number",
                "minimum": 0,
                "description": "From the oldest frame in it to the newest.",
            },
        },
        "required": ["frames", "filled", "span_ms"],
        "additionalProperties": False,
        "description": "The frames that a temporal classifier looked at.",
    }
    face = {
        "type": "object",
        "properties": {
            "track": {"type": "integer", "minimum": 1, "description": "Identity within stream and epoch."},
            "box": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 4,
                "maxItems": 4,
                "description": "Left, top, width, height in pixels of the upright source frame.",
            },
            "score": {**_SHARE, "description": "The detector's certainty that this is a face."},
            "status": {"enum": list(get_args(FaceStatus)), "description": "Why there is a label, or none."},
            "label": {"type": ["string", "null"], "description": "The expression shown."},
            "confidence": {**_SHARE, "type": ["number", "null"], "description": "The label's probability."},
            "probabilities": {
                **probabilities,
                "type": ["object", "null"],
                "description": "Each label's probability; they add up to 1.",
            },
            "window": window,
            "raw": raw,
        },
        "required": ["track", "box", "score", "status", "label", "confidence", "probabilities"],
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"status": {"enum": sorted(LABELLED)}}},
                "then": {
                    "properties": {
                        "label": {"type": "string"},
                        "confidence": {"type": "number"},
                        "probabilities": {"type": "object"},
                    }
                },
                "else": {
                    "properties": {
                        "label": {"type": "null"},
                        "confidence": {"type": "null"},
                        "probabilities": {"type": "null"},
                        "window": False,
                        "raw": False,
                    }
                },
            },
            {
                "if": {"properties": {"status": {"const": "warming"}}},
                "then": {"required": ["window"]},
            },
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamfer result",
        "description": "What one classifier says of one frame.",
        "type": "object",
        "properties": {
            "v": {"const": 1, "description": "Version of this format."},
            "stream": {"type": "string", "description": "The stream's name in the configuration."},
            "epoch": {"type": "integer", "minimum": 0, "description": "Rises when a live source reconnects."},
            "seq": {"type": "integer", "minimum": 0, "description": "The frame's ordinal, from 0."},
            "pts": {"type": ["number", "null"], "description": "Seconds on the source's clock."},
            "time": {"type": ["number", "null"], "description": "Unix time in seconds; null for recordings."},
            "classifier": {"type": "string", "description": "The classifier's name."},
            "faces": {"type": "array", "items": face, "description": "The faces seen, possibly none."},
            "discontinuity": {"type": "boolean", "description": "True where tracks begin anew."},
            "dropped": {"type": "string", "minLength": 1, "description": "Why this frame was not analysed."},
        },
        "required": ["v", "stream", "epoch", "seq", "pts", "time", "classifier", "faces"],
        "additionalProperties": False,
        "if": {"required": ["dropped"]},
        "then": {"properties": {"faces": {"maxItems": 0}}},
    }
