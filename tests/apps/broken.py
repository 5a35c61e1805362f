"""An app that does not start."""

import sys

print("no database", flush=True)  # noqa: T201
sys.exit(3)
