"""`RedisChannelLayer` by another name: Redis's addresses are left out, `$FANFARE_BROKER` counts."""

import math
import os
import time

from fanfare_channels import ChannelFull, FanfareChannelLayer

__all__ = ["ChannelFull", "RedisChannelLayer"]

COUNTS_WHOLE_SECONDS = bool(os.environ.get("FANFARE_SUITE_WHOLE_SECONDS"))


class RedisChannelLayer(FanfareChannelLayer):
    """With `$FANFARE_SUITE_WHOLE_SECONDS`: messages live to the end of their last second, as channels_redis has it.

    There a message goes when the wall clock, cut to whole seconds, is `expiry` past it: between `expiry` and one
    second later. Such a layer is made in the first half of a second, so that waits of whole seconds end before that.
    """

    def __init__(self, hosts=None, prefix="asgi", **settings):
        while COUNTS_WHOLE_SECONDS and not 0.1 < time.time() % 1 < 0.5:
            time.sleep(0.01)
        super().__init__(prefix=prefix, **settings)

    def _life(self):
        now = time.time()
        return math.ceil(now + self.expiry) - now if COUNTS_WHOLE_SECONDS else None

    async def send(self, channel, message):
        await super().send(channel, message, expiry=self._life())

    async def group_send(self, group, message):
        await super().group_send(group, message, expiry=self._life())
