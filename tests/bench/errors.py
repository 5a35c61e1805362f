"""What can go wrong, in one line."""


class BenchError(Exception):
    """The bench cannot give a figure, or must not: `str()` says what is wrong, where, and the cure."""
