"""The chat of the Channels tutorial (Tests/EndToEnd/tutorial), with Redis as its layer and as fast as it goes."""
import os

from mysite.settings import *  # noqa: F403  This is the project; only what follows is different.

DEBUG = False
ALLOWED_HOSTS = ["*"]
LOGGING_CONFIG = None
CHANNEL_LAYERS = {"default": {
    "BACKEND": os.environ["BENCHMARK_LAYER"],
    "CONFIG": {"hosts": ["unix://" + os.environ["BENCHMARK_REDIS"]]},
}}
