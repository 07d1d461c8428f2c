"""A real browser, without a window, and its tabs in chat rooms."""
import shutil

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from programs import eventually


def installed(*names):
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"none of {', '.join(names)} is installed; run scripts/install test"
    return found


def start():
    """A driver; the caller ends it with `quit`."""
    options = webdriver.ChromeOptions()
    options.binary_location = installed("chromium", "chromium-browser", "google-chrome")
    # Root and containers have no user namespaces for the sandbox, and little /dev/shm; the pages are our own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=900,700"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(installed("chromedriver")))
    driver.set_page_load_timeout(60)
    return driver


class Tab:
    """One tab of the browser; every method brings it to the front first."""

    def __init__(self, browser, is_first=False):
        self.browser = browser
        if not is_first:
            browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle

    def find(self, name):
        self.browser.switch_to.window(self.handle)
        return self.browser.find_element(By.ID, name)

    def enter(self, address, room):
        self.browser.switch_to.window(self.handle)
        self.browser.get(address)
        self.find("room-name").send_keys(room, Keys.ENTER)
        eventually(lambda: self.browser.current_url == f"{address}chat/{room}/", "the room's page opens")
        self.await_connection()

    def await_connection(self):
        eventually(lambda: self.attribute("state", "data-state") == "connected", "the page is connected")
        eventually(lambda: self.attribute("worker", "data-pid"), "the page shows who runs its socket")

    def attribute(self, name, attribute):
        try:
            return self.find(name).get_attribute(attribute)
        except StaleElementReferenceException:
            return None

    def worker_pid(self):
        return int(self.attribute("worker", "data-pid"))

    def reload(self):
        self.browser.switch_to.window(self.handle)
        self.browser.refresh()
        self.await_connection()

    def say(self, text):
        self.find("message").send_keys(text)
        self.find("send").click()

    def messages(self):
        self.find("log")
        return [entry.text for entry in self.browser.find_elements(By.CSS_SELECTOR, "#log .message .text")]

    def close(self):
        self.browser.switch_to.window(self.handle)
        self.browser.close()
