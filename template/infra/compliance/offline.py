"""Print the variables of a plan that needs no account: of a project that does not exist, with an image a service."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

SERVICES = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))["services"]
IMAGES = {name: f"example.pkg.dev/offline/{name}@sha256:{'0' * 64}" for name in SERVICES}
PROJECT = {"project_id": "offline-project", "project_number": "123456789012"}
json.dump({**PROJECT, "images": IMAGES}, sys.stdout)
