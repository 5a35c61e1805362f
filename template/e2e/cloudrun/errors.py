"""What can go wrong, as one hierarchy.

CloudRunError
├── TopologyError      topology.yaml or expect.yaml is wrong
├── NotSimulated       asked for something that is not imitated
├── StartFailed        a service did not become ready
└── Timeout            something that was awaited did not happen
"""

from __future__ import annotations


class CloudRunError(Exception):
    """Base of all; its text is one line, or one line for each mistake."""


class TopologyError(CloudRunError):
    """A file of the user's is wrong: each line names the file, the key and the cure."""


class NotSimulated(CloudRunError):  # noqa: N818 (it is a refusal, not an error of the program)
    """The request is valid, but not imitated here."""


class StartFailed(CloudRunError):  # noqa: N818 (named after the event)
    """A service did not become ready; the text ends with its last line of output."""


class Timeout(CloudRunError):  # noqa: N818 (named after the event)
    """The text says what was awaited."""
