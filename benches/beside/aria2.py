"""aria2: seeders that stay, and a new process for each download.

Invariant: the time of a download runs from the start of its process until it says that it is complete: every piece checked.
It cannot be told of a download without its control connection, and starting it takes some 20 ms.
"""

import shutil
import time

from .ours import free_port
from .process import PATIENCE_WITH_FILES
from .sample import Sample
from .tracker import Tracker

QUIET = [
    "--no-conf",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--enable-rpc=false",
    "--file-allocation=none",
    "--summary-interval=0",
    "--show-console-readout=false",
    "--console-log-level=warn",
    "--enable-color=false",
]
"""Nothing but what it is told of; in clear, which is its default; each piece is checked as it comes, which cannot be turned off."""
COMPLETE = "complete"
"""What its hook says, on its own output, as soon as the last piece is checked."""


def missing():
    """Why it cannot be measured, or None."""
    return None if shutil.which("aria2c") else "aria2 is not installed; on Debian: apt install aria2"


class Aria2:
    """The program."""

    name = "aria2, in clear"

    def __init__(self, processes, source, seeders_max):
        self.processes, self.source = processes, source
        self.hook = processes.directory / "aria2-complete"
        self.hook.write_text(f"#!/bin/sh\necho {COMPLETE}\n")
        self.hook.chmod(0o700)
        self.tracker = Tracker()
        self.torrent = source.write_torrent("aria2", self.tracker.announce)
        self.ports, self.seeders, self.count = [], [], 0
        for number in range(1, seeders_max + 1):
            port = free_port()
            options = ["--seed-ratio=0", "--bt-seed-unverified=true", f"--listen-port={port}", f"--dir={source.directory}"]
            self.seeders.append(processes.start(f"aria2-seeder-{number}", ["aria2c", *QUIET, *options, self.torrent]))
            self.ports.append(port)
            self.tracker.wait_for(port)

    def create(self):
        """It makes no torrent files."""
        return None

    def download(self, seeders):
        """Moves the file once."""
        self.count += 1
        directory = self.processes.directory / f"aria2-{self.count}"
        self.tracker.named = self.ports[:seeders]
        options = ["--seed-ratio=0", f"--listen-port={free_port()}", f"--dir={directory}", f"--on-bt-download-complete={self.hook}"]
        start = time.monotonic()
        leecher = self.processes.start(directory.name, ["aria2c", *QUIET, *options, self.torrent])
        self.source.touch_memory()
        sample = Sample.begin(leecher, self.seeders[:seeders])
        deadline = start + PATIENCE_WITH_FILES
        while True:
            at, line = leecher.line(deadline)
            if line == COMPLETE:
                break
        sample.end(at - start)
        self.source.check_and_remove(directory / self.source.name)
        self.processes.end(leecher)
        shutil.rmtree(directory)
        return sample
