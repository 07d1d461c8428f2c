"""uWebSockets: every text frame of a member goes to all members of the room that the path names.

    python uwebsockets.py PORT
"""
import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()


def upgrade(response, request, context):
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_parameter(0),
    )


def opened(socket):
    socket.subscribe(socket.get_user_data())


def received(socket, message, opcode):
    # The application's publish reaches the sender too; the socket's does not.
    app.publish(socket.get_user_data(), message, OpCode.TEXT)


app.ws("/ws/chat/:room/", {
    "compression": CompressOptions.DISABLED,
    "max_payload_length": 1 << 20,
    "max_backpressure": 64 << 20,
    "idle_timeout": 120,
    "upgrade": upgrade,
    "open": opened,
    "message": received,
})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _: print("listening", flush=True))
# Not app.run(), which polls between turns of an asyncio loop that nothing here needs.
app.loop.uv_loop.run()
