"""libtorrent, by its binding for Python: sessions in processes of their own, seeders that stay and a new leecher for each download.

Invariant: the time of a download runs from the torrent being added, the session being up before, until the last piece is checked.

A tracker names the seeders: to peers that it is told of in another way the library connects only at the next of its seconds.
"""

import importlib.util
import json
import shutil
import sys
import time
from pathlib import Path

from .process import PATIENCE, PATIENCE_WITH_FILES
from .sample import Sample
from .source import PIECE_LEN
from .tracker import Tracker

SESSION = Path(__file__).with_name("session.py")


def missing():
    """Why it cannot be measured, or None."""
    if importlib.util.find_spec("libtorrent"):
        return None
    return "libtorrent is not installed for this Python; in a virtual environment: pip install libtorrent"


def version():
    """Its version."""
    import libtorrent

    return libtorrent.version


class Libtorrent:
    """Sessions of one configuration."""

    name = "libtorrent, in clear"

    def __init__(self, processes, source, seeders_max, configuration):
        self.processes, self.source, self.configuration = processes, source, json.dumps(configuration)
        self.count = 0
        self.tracker = Tracker()
        self.torrent = source.write_torrent("libtorrent", self.tracker.announce)
        self.seeders = [self._start("seed", source.directory) for _ in range(seeders_max)]
        self.ports = [int(seeder.line(time.monotonic() + PATIENCE)[1]) for seeder in self.seeders]

    def _start(self, part, directory):
        self.count += 1
        command = [sys.executable, SESSION, part, self.configuration, self.torrent, directory]
        return self.processes.start(f"libtorrent-{part}-{self.count}", command)

    def stop(self):
        """Ends the seeders."""
        for seeder in self.seeders:
            self.processes.end(seeder)

    def create(self):
        """Returns what making the torrent takes: seconds, and CPU seconds."""
        maker = self.processes.start("libtorrent-create", [sys.executable, SESSION, "create", self.source.path, PIECE_LEN])
        maker.line(time.monotonic() + PATIENCE)
        before, start = maker.usage()[0], maker.send("begin")
        at, _ = maker.line(start + PATIENCE_WITH_FILES)
        took = at - start, maker.usage()[0] - before
        self.processes.end(maker)
        return took

    def download(self, seeders):
        """Moves the file once."""
        directory = self.processes.directory / f"libtorrent-copy-{self.count}"
        self.tracker.named = self.ports[:seeders]
        leecher = self._start("leech", directory)
        leecher.line(time.monotonic() + PATIENCE)
        self.source.touch_memory()
        sample = Sample.begin(leecher, self.seeders[:seeders])
        start = leecher.send("begin")
        at, _ = leecher.line(start + PATIENCE_WITH_FILES)
        sample.end(at - start)
        # Its copy is whole once the session has ended in order.
        leecher.finish()
        self.processes.running.remove(leecher)
        self.source.check_and_remove(directory / self.source.name)
        shutil.rmtree(directory)
        return sample
