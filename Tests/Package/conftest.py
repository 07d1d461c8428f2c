import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from machine import Machine


def pytest_configure():
    assert os.geteuid() == 0, "a machine of its own needs root"
    for program in ("unshare", "nsenter", "dpkg", "/lib/systemd/systemd"):
        assert shutil.which(program), f"{program} is missing; this runs on Debian and Ubuntu"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    machine = item.funcargs.get("machine") if hasattr(item, "funcargs") else None
    if report.failed and machine is not None and report.when == "call":
        report.sections.append(("journal", machine.journal()[-20_000:]))
    return report


@pytest.fixture(scope="session")
def packages():
    """The package and a newer one, which scripts/package-test has made."""
    old, new = (pathlib.Path(os.environ[name]) for name in ("FANFARE_PACKAGE", "FANFARE_PACKAGE_NEW"))
    versions = [subprocess.check_output(["dpkg-deb", "--field", path, "Version"], text=True).strip() for path in (old, new)]
    assert subprocess.run(["dpkg", "--compare-versions", versions[0], "lt", versions[1]]).returncode == 0, versions
    return old, new


@pytest.fixture
def machine():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-package-"))
    machine = Machine(folder)
    yield machine
    machine.close()
    shutil.rmtree(folder)
