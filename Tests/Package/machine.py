"""A machine of a test's own: this system's files, with changes that are thrown away, and a real systemd.

Namespaces keep its processes, network, mounts and control groups apart; nothing of it is left when it ends.
"""
import asyncio
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

START_SECONDS = 60
CLONE_NEWNET = 0x4000_0000

# Runs as the first process of the namespaces; "$1" is an empty folder. The kernel's settings are read-only, so that
# this systemd changes none; it mounts its own control groups, which begin where this process is.
BOOT = r"""
set -euo pipefail
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# Without Swift and whatever else the system has of its own.
mount -t tmpfs tmpfs opt
mount -t tmpfs tmpfs usr/local
mount --rbind /dev dev
# What keeps services from starting in containers.
rm -f usr/sbin/policy-rc.d
printf '%032x\n' "$$" >etc/machine-id
cat >etc/systemd/system/package-test.target <<TEXT
[Unit]
Description=As little as there can be
DefaultDependencies=no
Requires=dbus.socket
After=dbus.socket
TEXT
exec chroot . env --ignore-environment PATH="$PATH" container=package-test \
    /lib/systemd/systemd --system --unit=package-test.target --log-target=journal --show-status=no
"""


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.group = self.make_group()
        root = folder / "machine"
        root.mkdir()
        command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
                   "bash", "-c", BOOT, "boot", str(root)]
        self.log = open(folder / "boot.log", "wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=lambda: (self.group / "cgroup.procs").write_text("0"),
        )
        self.pid = None
        try:
            self.wait_for_systemd()
        except BaseException:
            self.close()
            raise

    def make_group(self):
        """Control groups of its own; this machine's are not systemd's to change."""
        mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
        hierarchy = next(pathlib.Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")
        group = hierarchy / f"fanfare-package-test-{os.getpid()}-{self.folder.name}"
        group.mkdir()
        return group

    def wait_for_systemd(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, (self.folder / "boot.log").read_text()
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                self.pid = int(children[0])
                state = self.run("systemctl", "is-system-running", check=False)
                if state.stdout.strip() in ("running", "degraded"):
                    return
            assert time.monotonic() < deadline, f"systemd did not start: {(self.folder / 'boot.log').read_text()}"
            time.sleep(0.1)

    def run(self, *command, check=True, user=None):
        """Runs a command in the machine and returns it, completed."""
        words = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
                 "--root", "--wd"]
        if user:
            words += ["runuser", "--user", user, "--"]
        environment = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run([*words, *map(str, command)], env=environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def systemctl(self, *arguments):
        return self.run("systemctl", *arguments).stdout

    def property(self, unit, name):
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def main_pid(self, unit):
        """As its process is called inside."""
        return int(self.property(unit, "MainPID"))

    def path(self, inside):
        """Where this machine sees a path of that one."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    def dpkg(self, *arguments):
        return self.run("dpkg", *arguments)

    def install(self, package):
        shutil.copy(package, self.path("/tmp"))
        return self.dpkg("--install", f"/tmp/{package.name}")

    def files(self):
        """Every file, folder and link that is not the machine's own business, with the sizes of files."""
        own = ("/proc", "/sys", "/dev", "/run/systemd", "/run/dbus", "/run/udev", "/run/log", "/run/user", "/tmp",
               "/work", "/opt", "/var/log", "/var/cache", "/var/lib/dpkg", "/var/lib/systemd", "/var/tmp", "/root")
        prune = [word for path in own for word in ("-path", path, "-o")][:-1]
        listed = self.run("find", "/", "(", *prune, ")", "-prune", "-o", "-type", "f", "-printf", "%p %s\n", "-o",
                          "-print").stdout
        return set(listed.splitlines())

    def inside(self, coroutine):
        """Runs a coroutine in the machine's network; its result."""
        outcome = {}

        def body():
            with open(f"/proc/{self.pid}/ns/net") as network:
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            outcome["result"] = asyncio.run(coroutine)

        def guarded():
            try:
                body()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    def journal(self):
        return self.run("journalctl", "--no-pager", "--output", "short-precise", check=False).stdout

    def close(self):
        if self.pid:
            # The end of the first process is the end of all in its namespace.
            os.kill(self.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        self.log.close()
        deadline = time.monotonic() + START_SECONDS
        for group in sorted(self.group.rglob("*/"), reverse=True) + [self.group]:
            while group.is_dir():
                try:
                    group.rmdir()
                except OSError:
                    assert time.monotonic() < deadline, f"processes are left in {group}"
                    time.sleep(0.05)
