"""Plugins: finding them (registry), and building their components in a worker (spec)."""

from __future__ import annotations

from streamfer.plugins.registry import (
    NAME,
    SERVICE_KEYS,
    BrokenPlugin,
    Clash,
    Origin,
    Registered,
    Registry,
    load_network,
    option_keys,
    spec_of,
)
from streamfer.plugins.spec import (
    ComponentSpec,
    MemberSpec,
    build,
    distinct_crops,
    load_local,
    local_module_name,
    resolve,
)

__all__ = [
    "NAME",
    "SERVICE_KEYS",
    "BrokenPlugin",
    "Clash",
    "ComponentSpec",
    "MemberSpec",
    "Origin",
    "Registered",
    "Registry",
    "build",
    "distinct_crops",
    "load_local",
    "load_network",
    "local_module_name",
    "option_keys",
    "resolve",
    "spec_of",
]
