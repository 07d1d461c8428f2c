"""A channel layer for Django Channels over a Fanfare broker.

CHANNEL_LAYERS = {"default": {"BACKEND": "fanfare_channels.FanfareChannelLayer"}}
"""

from .exceptions import BrokerRefused, BrokerUnavailable, ChannelFull, MessageTooLarge
from .layer import FanfareChannelLayer
from .mailbox import Gap
from .version import __version__

__all__ = [
    "BrokerRefused",
    "BrokerUnavailable",
    "ChannelFull",
    "FanfareChannelLayer",
    "Gap",
    "MessageTooLarge",
    "__version__",
]
