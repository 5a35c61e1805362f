"""An offline Cloud Run: runs the services of topology.yaml as the platform would, and keeps their spans.

Imitated: what `python -m cloudrun rules` lists, each with its source. Refused with `NotSimulated`: everything else that
topology.yaml can ask for.
"""

from cloudrun.client import CloudRun, Reply
from cloudrun.errors import CloudRunError, NotSimulated
from cloudrun.store import Span, Trace

__all__ = ["CloudRun", "CloudRunError", "NotSimulated", "Reply", "Span", "Trace"]
