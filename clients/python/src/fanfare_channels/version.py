"""The version of this package, and of what it says in its hello."""

__version__ = "0.1.0"
