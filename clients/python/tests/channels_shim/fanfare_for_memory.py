"""A pytest plugin that puts Fanfare in the place of `InMemoryChannelLayer` when the tests of Channels are run.

`$FANFARE_BROKER` names the broker.
"""

import channels.layers

from fanfare_channels import FanfareChannelLayer
from fanfare_channels.protocol import INSPECT


class InMemoryChannelLayer(FanfareChannelLayer):
    """Takes the arguments of the layer it stands for. Each object starts empty, as one in memory does."""

    def __init__(self, expiry=60, group_expiry=86400, capacity=100, channel_capacity=None, **settings):
        super().__init__(
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            **settings,
        )
        self.flush_sync()

    @property
    def channels(self):
        """The channels somebody reads here or that hold messages at the broker: some tests look for theirs."""
        rows = self._rows("channels")
        return {**dict.fromkeys(self.hub().mailboxes), **{row["channel"]: row for row in rows if row["depth"]}}

    @property
    def groups(self):
        """The groups there are, as the broker lists them."""
        return {row["group"]: row for row in self._rows("groups")}

    def _rows(self, subject):
        return self.hub().call_in_thread(INSPECT, (subject, {"namespace": self.prefix}), again=True)["rows"]


channels.layers.InMemoryChannelLayer = InMemoryChannelLayer
