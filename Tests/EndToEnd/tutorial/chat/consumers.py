"""The consumer of the tutorial, and one for `runworker`. Neither knows which layer there is."""
import json

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.group = f"chat_{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "message": message})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class Shouter(AsyncConsumer):
    """Work that `manage.py runworker shouts` does apart from the web servers."""

    async def shout(self, event):
        message = {"type": "chat.message", "message": event["message"].upper()}
        await self.channel_layer.group_send(f"chat_{event['room']}", message)
