import os
import pathlib
import resource
import shutil
import subprocess
import tempfile

import pytest

import browsers
import programs
import security


def pytest_configure():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    house = item.funcargs.get("house") if hasattr(item, "funcargs") else None
    if report.failed and house is not None:
        for name, text in house.logs():
            report.sections.append((f"log of {name}", text[-20_000:]))
    return report


@pytest.fixture(scope="session")
def binaries():
    folder = os.environ.get("FANFARE_BIN") or subprocess.run(
        ["swift", "build", "--show-bin-path"], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = pathlib.Path(folder)
    for program in ("fanfare-broker", "fanfare-worker", "fanfare", "fanfare-examples"):
        assert (folder / program).exists(), f"{folder / program} is not built; run scripts/test"
    return folder


@pytest.fixture
def house(binaries, request):
    """A folder of this test's own, short enough for a Unix socket, and the programs started in it. Kept on failure."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-", dir="/tmp"))
    house = programs.House(binaries, folder)
    yield house
    house.close()
    reports = [getattr(request.node, f"report_{when}", None) for when in ("setup", "call")]
    if any(report is not None and report.failed for report in reports):
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)


@pytest.fixture
def port():
    return programs.free_port()


@pytest.fixture
def broker(house):
    return house.broker()


@pytest.fixture
def workers(house, broker, port):
    return house.workers(2, port)


@pytest.fixture
def browser(house):
    driver = browsers.start()
    yield driver
    driver.quit()


@pytest.fixture
def credentials(house):
    return security.Credentials(house.folder)


@pytest.fixture
def authority(house):
    return security.Authority(house.folder, "authority")
