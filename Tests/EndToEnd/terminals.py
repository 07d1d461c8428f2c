"""A program on a pseudo-terminal of its own: keys in, screens out."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

SECONDS = 30
ENTERED, LEFT = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


class Terminal:
    """Runs a program with a terminal for its three streams, in a session of its own."""

    def __init__(self, command, environment, rows=24, columns=80):
        self.controller, terminal = pty.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(terminal)
        self.output = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.controller)
            os.login_tty(terminal) if hasattr(os, "login_tty") else self.attach(terminal)
            os.execve(str(command[0]), [str(word) for word in command], {**environment, "TERM": "xterm-256color"})
        # Kept open, so that its settings can be read when the program is gone.
        self.terminal = terminal
        self.status = None

    @staticmethod
    def attach(terminal):
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for stream in range(3):
            os.dup2(terminal, stream)

    def resize(self, rows, columns):
        fcntl.ioctl(self.controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.controller, keys.encode())

    def pump(self, seconds):
        ready, _, _ = select.select([self.controller], [], [], seconds)
        if ready:
            try:
                self.output += os.read(self.controller, 65536)
            except OSError:
                pass

    def wait_for(self, check, what):
        """Reads until `check` of all the output is true; returns that."""
        deadline = time.monotonic() + SECONDS
        while not (result := check(self.output)):
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}; the end was {self.output[-2000:]!r}"
            self.pump(0.05)
        return result

    def shows(self, text, after=0):
        """Waits until a screen drawn from now on, or after that much output, has the text; returns the screen."""
        return self.wait_for(
            lambda output: next((one for one in reversed(self.screens(output[after:])) if text in one), None), text
        )

    @staticmethod
    def screens(output):
        """The screens that were drawn whole, as text without colours."""
        parts = output.split(b"\x1b[H")[1:]
        return [Terminal.plain(part.split(b"\x1b[J")[0]) for part in parts if b"\x1b[J" in part]

    @staticmethod
    def plain(output):
        text, pieces = "", output.decode(errors="replace").split("\x1b[")
        for number, piece in enumerate(pieces):
            text += piece if number == 0 else piece.lstrip("0123456789;?")[1:]
        return text.replace("\r\n", "\n")

    def send(self, number):
        os.kill(self.pid, number)

    def wait_until_stopped(self):
        self.wait_for(lambda _: os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)[1]), "it stops")

    def wait(self):
        """Waits for the end; the exit code."""
        def ended(_):
            pid, self.status = os.waitpid(self.pid, os.WNOHANG)
            return pid == self.pid
        self.wait_for(ended, "it ends")
        while select.select([self.controller], [], [], 0)[0]:
            before = len(self.output)
            self.pump(0)
            if len(self.output) == before:
                break
        return os.waitstatus_to_exitcode(self.status)

    def is_restored(self):
        """Whether the screen, the cursor and the settings are as they were found."""
        last_entered, last_left = self.output.rfind(ENTERED), self.output.rfind(LEFT)
        return last_left > last_entered and termios.tcgetattr(self.terminal) == self.settings

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.controller)
        os.close(self.terminal)
