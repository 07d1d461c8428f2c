"""`RedisChannelLayer` by another name: Redis's addresses are left out, `$FANFARE_BROKER` counts."""

from fanfare_channels import ChannelFull, FanfareChannelLayer

__all__ = ["ChannelFull", "RedisChannelLayer"]


class RedisChannelLayer(FanfareChannelLayer):
    def __init__(self, hosts=None, prefix="asgi", **settings):
        super().__init__(prefix=prefix, **settings)
