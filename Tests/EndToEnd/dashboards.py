"""The broker's dashboard: over plain HTTP, in the browser, and traffic for it to show."""
import http.client
import json
import socket
import threading

import msgpack
from selenium.webdriver.common.by import By

import wire
from programs import HOST, eventually, free_port


class Dashboard:
    """A broker with an operations port, and what it answers."""

    def __init__(self, house, *arguments, host=HOST):
        self.house, self.port, self.host, self.arguments = house, free_port(), host, arguments
        self.broker = house.broker("--ops", f"{host}:{self.port}", *arguments)
        self.address = f"http://{HOST}:{self.port}/"

    def ask(self, path, address=HOST, **fields):
        """Status, header fields and body of a GET; `host_` is the header `host`."""
        connection = http.client.HTTPConnection(address, self.port, timeout=20)
        connection.request("GET", path, headers={name.rstrip("_").replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()

    def json(self, path, **fields):
        status, _, body = self.ask(path, **fields)
        assert status == 200, body
        return json.loads(body)

    def refusal(self, path="/api/status", **fields):
        status, _, body = self.ask(path, **fields)
        return status, json.loads(body)["code"]


class Traffic:
    """A process with members in groups, and another that sends to them until the test ends."""

    def __init__(self, house, node="n1", name="worker-one", members=3):
        self.worker = wire.Wire(house.socket, name=name, role="worker", node=node)
        self.channels = [f"ws.{node}!{number}" for number in range(members)]
        self.worker.ask(wire.OPEN_CHANNELS, [[channel, {"remote": "203.0.113.7:4711"}] for channel in self.channels])
        self.sender = wire.Wire(house.socket, name="sender", role="publish")
        self.over = threading.Event()
        self.threads = []

    def join(self, group, count):
        self.worker.ask(wire.GROUP_ADD, group, self.channels[:count])

    def start(self, group, message):
        self.start_one(self.send, group, message)
        self.start_one(self.drain, self.worker)
        self.start_one(self.drain, self.sender)

    def start_one(self, body, *arguments):
        thread = threading.Thread(target=body, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    def send(self, group, message):
        while not self.over.wait(0.02):
            self.sender.write(wire.GROUP_SEND, None, group, msgpack.packb(message))

    def drain(self, session):
        """Reads what comes, so that the broker finds nobody slow, and answers its pings."""
        while not self.over.is_set():
            try:
                answer = session.read()
            except (TimeoutError, OSError):
                continue
            if not answer:
                return
            if answer[0] == wire.PING:
                session.write(wire.PONG, answer[1])

    def close(self):
        self.over.set()
        for session in (self.worker, self.sender):
            session.link.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


class Page:
    """The dashboard in the browser."""

    def __init__(self, browser, address, theme="light"):
        self.browser = browser
        self.set_theme(theme)
        browser.get(address)

    def set_theme(self, theme):
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def js(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def go(self, address):
        self.js("location.hash = arguments[0]", f"#/{address}")

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map(found => found.textContent)", selector)

    def state(self):
        return self.find("#state").get_attribute("data-state")

    def await_state(self, state):
        eventually(lambda: self.state() == state, f"the page is {state}")

    def rows(self, table="table"):
        """What the table shows: each row a map from column to text."""
        return self.js(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(row => Object.fromEntries("
            "[...row.cells].map(cell => [cell.dataset.label, cell.textContent])))", table)

    def await_rows(self, check, what, table="table"):
        return eventually(lambda: check(self.rows(table)) and self.rows(table), what)

    def search(self, text, field="table-search"):
        found = self.browser.find_element(By.ID, field)
        found.clear()
        found.send_keys(text)

    def sort(self, column):
        self.find(f"#table th[data-key='{column}'] button").click()

    def width(self):
        return self.js("return [document.documentElement.scrollWidth, window.innerWidth]")

    def shows_its_tab(self):
        """Whether the whole of the selected tab is inside the strip, and the strip on the screen."""
        return self.js(
            "const [tab, strip] = ['#tabs [aria-current]', '#tabs'].map(which => document.querySelector(which).getBoundingClientRect());"
            "return 0 <= strip.left && strip.left <= tab.left && tab.right <= strip.right && strip.right <= innerWidth")

    def cut(self):
        """The texts of cells that need more width than they have."""
        return self.js(
            "return [...document.querySelectorAll('td')].filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)")

    def displayed(self, selector):
        return set(self.js(
            "return [...document.querySelectorAll(arguments[0])].filter(found => found.offsetParent).map(found => found.textContent)", selector))

    def resize(self, width, height):
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def line(self, chart):
        """The path of a chart's first line."""
        return self.js("return [...document.querySelectorAll(`#chart-${arguments[0]} .line`)].map(line => line.getAttribute('d')).join()", chart)

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def origins(self):
        """Where the page and everything it asked for came from."""
        return set(self.js("return performance.getEntries().filter(entry => entry.name.includes('://')).map(entry => new URL(entry.name).origin)"))
