"""The test vectors that all languages share: e2e/vectors."""

from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[3] / "e2e" / "vectors"


def vectors(name: str) -> Any:
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
