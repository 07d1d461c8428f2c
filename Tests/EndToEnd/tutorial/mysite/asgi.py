import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
pages = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402  Django has to be set up before.
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

from chat.consumers import ChatConsumer, Shouter  # noqa: E402

sockets = URLRouter([path("ws/chat/<slug:room>/", ChatConsumer.as_asgi())])
application = ProtocolTypeRouter({
    "http": pages,
    "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(sockets)),
    "channel": ChannelNameRouter({"shouts": Shouter.as_asgi()}),
})
