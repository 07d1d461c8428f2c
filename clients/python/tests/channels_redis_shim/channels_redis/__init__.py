"""Stands in for `channels_redis` when its own tests are run against Fanfare."""
