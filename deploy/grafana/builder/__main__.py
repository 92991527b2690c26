"""Writes the dashboards: python -m deploy.grafana.builder"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.builder import classifier, comparison, overview, service, stream

FOLDER = Path(__file__).parents[1] / "dashboards"


def files() -> dict[str, str]:
    """The text of each file by its name."""
    built = [module.build() for module in (overview, stream, classifier, comparison, service)]
    return {
        f"{dashboard.uid}.json": json.dumps(
            dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for dashboard in built
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
