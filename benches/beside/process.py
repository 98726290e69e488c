"""Child processes: lines in, lines out with their time of arrival, what each used of the machine.

Invariant: a process started here is gone when this program is, however it ends: each is killed on the way out, and the
kernel kills those of a program that was killed itself.
"""

import ctypes
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path

PATIENCE = 60.0
"""Seconds that anything may take that moves no file."""
PATIENCE_WITH_FILES = 120.0
"""Seconds that anything may take that moves or hashes one."""
TICKS_PER_SECOND = 100
"""Units of CPU time in /proc/PID/stat: USER_HZ, 100 on every Linux there is."""
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """What went wrong, in words for whoever ran the program."""


class Processes:
    """All children; leaving the context kills those that still run."""

    def __init__(self, directory):
        self.directory = directory
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.kill()

    def start(self, name, command):
        """Starts a program in the directory; what it writes to stderr is appended to NAME.log there."""
        process = Process(name, [str(word) for word in command], self.directory)
        self.running.append(process)
        return process

    def end(self, process):
        """Kills a process that is no longer needed."""
        process.kill()
        self.running.remove(process)


class Process:
    """One child."""

    def __init__(self, name, command, directory):
        self.name = name
        self.lines = queue.SimpleQueue()
        self.log = Path(directory) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, preexec_fn=_die_with_parent
            )
        threading.Thread(target=self._forward, name=f"{name} stdout", daemon=True).start()

    def _forward(self):
        for line in self.child.stdout:
            self.lines.put((time.monotonic(), line.decode(errors="replace").rstrip()))
        self.lines.put((time.monotonic(), None))

    def send(self, line):
        """Types one line; returns when that was."""
        at = time.monotonic()
        self.child.stdin.write(f"{line}\n".encode())
        self.child.stdin.flush()
        return at

    def line(self, deadline):
        """Waits for the next line; returns its time of arrival and the line."""
        try:
            at, line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise Failure(f"{self.name} has not answered in time{self._end_of_log()}") from None
        if line is None:
            raise Failure(f"{self.name} ended with status {self.child.wait()}{self._end_of_log()}")
        return at, line

    def _end_of_log(self):
        lines = self.log.read_text(errors="replace").splitlines()[-10:]
        return "".join(f"\n  {line}" for line in lines)

    def usage(self):
        """Tells the CPU seconds used so far, and the most memory resident, in bytes."""
        stat = self._proc("stat").rsplit(") ", 1)[1].split()
        cpu = (int(stat[11]) + int(stat[12])) / TICKS_PER_SECOND
        peak = next(line for line in self._proc("status").splitlines() if line.startswith("VmHWM:"))
        return cpu, int(peak.split()[1]) * 1024

    def forget_peak(self):
        """Makes the peak of memory begin anew."""
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    def _proc(self, name):
        return Path(f"/proc/{self.child.pid}/{name}").read_text()

    def finish(self):
        """Ends the input, and waits until the process has ended by itself."""
        self.child.stdin.close()
        self.child.wait(PATIENCE)

    def kill(self):
        """Kills the process as `kill -9` does, and waits until it is gone."""
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def interrupt_on_signals():
    """Makes SIGTERM and SIGHUP end the program as Ctrl-C does: with everything cleaned up."""

    def interrupted(number, _):
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
