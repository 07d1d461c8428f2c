"""A worker behind a proxy: the addresses it is told, and a Unix socket to listen on."""
import asyncio
import http.client

import pytest
import websockets
from websockets.asyncio.client import unix_connect

from programs import HOST
from test_configured import SECONDS, hear, open_socket, refusals


def test_addresses_are_limited_behind_a_proxy_that_is_trusted(house, broker, port):
    file = house.folder / "limited.yaml"
    file.write_text(
        "root_path: /live\nchat: true\necho: true\ntrusted_proxies: [127.0.0.1]\n"
        "connections_per_address: 2\nrequest_rate: 50/h\n"
    )
    worker = house.worker("limited", port, True, "--config", str(file))

    def client(address):
        # What stands left of the proxy's own entry was written by strangers.
        return {"X-Forwarded-For": f"9.9.9.9, {address}"}

    async def attempt(address, path="/live/ws/echo/"):
        try:
            return await open_socket(port, path, additional_headers=client(address))
        except websockets.InvalidStatus as refusal:
            assert refusal.response.status_code == 429
            return None

    def page(path, address):
        connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
        connection.request("GET", path, headers=client(address))
        response = connection.getresponse()
        response.read()
        return response

    async def run():
        sockets = [await attempt("198.51.100.1") for _ in range(2)]
        assert all(sockets)
        assert await attempt("198.51.100.1") is None
        sockets.append(await attempt("198.51.100.2", "/live/ws/chat/a/"))
        await sockets.pop(0).close()
        while (again := await attempt("198.51.100.1")) is None:
            await asyncio.sleep(0.2)
        await asyncio.gather(*(socket.close() for socket in [again, *sockets]))

    asyncio.run(run())
    assert refusals(worker)["address_connections"] >= 1
    assert [page("/live/", "198.51.100.4").status for _ in range(50)] == [200] * 50
    limited = page("/live/", "198.51.100.4")
    assert limited.status == 429 and int(limited.headers["retry-after"]) > 0
    assert page("/live/", "198.51.100.5").status == 200
    assert page("/", "198.51.100.5").status == 404
    assert page("/live/chat/a", "198.51.100.5").headers["location"] == "a/"
    assert refusals(worker)["request_rate"] == 1


def test_a_worker_behind_a_proxy_listens_on_a_unix_socket(house, broker):
    path = house.folder / "worker.sock"
    file = house.folder / "worker.yaml"
    file.write_text("trusted_proxies: [unix]\nconnections_per_address: 1\necho: true\n")
    worker = house.worker("hidden", 0, True, "--config", str(file), "--listen", f"unix:{path}")
    assert f"fanfare-worker ready on unix:{path} (hidden)" in worker.text()

    async def run():
        def client(address):
            headers = {"X-Forwarded-For": address}
            return unix_connect(str(path), "ws://worker/ws/echo/", additional_headers=headers, proxy=None)

        async with client("198.51.100.1") as one, client("198.51.100.2") as two:
            for socket in (one, two):
                await socket.send("hello")
                assert await hear(socket) == "hello"
            with pytest.raises(websockets.InvalidStatus) as refusal:
                await client("198.51.100.1")
            assert refusal.value.response.status_code == 429

    asyncio.run(run())
    assert worker.terminate() == 0
    assert not path.exists()
