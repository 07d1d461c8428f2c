"""The serializers of the package under test."""

from fanfare_channels.serializers import *  # noqa: F403
