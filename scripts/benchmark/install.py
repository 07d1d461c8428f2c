"""Installing the peers: Debian's packages, and a Python environment outside of git."""
import os
import pathlib
import shutil
import subprocess
import sys

from benchmark import servers
from benchmark.programs import Failure

PACKAGES = {
    "redis": ["redis-server"],
    "nchan": ["nginx-light", "libnginx-mod-nchan"],
    "mosquitto": ["mosquitto"],
    "uwebsockets": ["libuv1"],
    "daphne": ["redis-server"],
    "uvicorn": ["redis-server"],
}
IN_PYTHON = {"uwebsockets", "daphne", "uvicorn"}
REQUIREMENTS = servers.PEERS / "requirements.txt"


def run(command, **options):
    completed = subprocess.run([str(word) for word in command], stdout=sys.stderr, **options)
    if completed.returncode != 0:
        raise Failure(f"\"{' '.join(map(str, command))}\" failed; its reason is above", 69)


def install(peers):
    """Installs those of the named peers that are missing."""
    missing = sorted(set(peers) - servers.installed())
    packages = sorted({package for peer in missing for package in PACKAGES[peer] if not is_installed(package)})
    if packages:
        install_packages(packages)
    if IN_PYTHON & set(missing):
        install_environment()
    still_missing = sorted(set(peers) - servers.installed())
    if still_missing:
        raise Failure(f"{', '.join(still_missing)} could not be found after installing", 69)


def is_installed(package):
    status = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return "ok installed" in status.stdout


def install_packages(packages):
    if not shutil.which("apt-get"):
        raise Failure(f"missing: {', '.join(packages)} (Debian's names), and there is no apt-get here", 78)
    print(f"scripts/bench: installing {' '.join(packages)}", file=sys.stderr)
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    variables = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run([*as_root, "apt-get", "update", "-q"])
    run([*as_root, *variables, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages])


def install_environment():
    print(f"scripts/bench: making {servers.VENV} with the packages of {REQUIREMENTS}", file=sys.stderr)
    run([sys.executable, "-m", "venv", servers.VENV])
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([servers.VENV / "bin/python", *pip, "--requirement", REQUIREMENTS])


def build():
    """Builds what is measured, in release; the folder of the programs."""
    flags = ["swift", "build", "--configuration", "release"]
    for product in ("fanfare-broker", "fanfare-worker", "fanfare-bench"):
        run([*flags, "--product", product], cwd=servers.ROOT)
    where = subprocess.run([*flags, "--show-bin-path"], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    return pathlib.Path(where.stdout.strip())
