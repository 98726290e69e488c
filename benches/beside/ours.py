"""Posse: a tracker, seeding clients that stay, and a client for each download.

Invariant: the time of a download runs from its command being typed until the client says that the file is complete:
every piece and the whole file checked, synced, under its name. The client was logged in before.
"""

import json
import shlex
import shutil
import socket
import time

from .process import PATIENCE, PATIENCE_WITH_FILES, Failure
from .sample import Sample

PASSWORD = "correct horse"


class Ours:
    """The programs, with one group for each number of seeders."""

    name = "Posse, TLS"

    def __init__(self, processes, source, binaries, seeders_max):
        self.processes, self.source, self.binaries = processes, source, binaries
        self.count = 0
        self.directory = processes.directory
        port = free_port()
        info = self.directory / "tracker_info.txt"
        info.write_text(f"127.0.0.1:{port}\n")
        options = [word for what in ("accounts", "groups", "requests") for word in (f"--{what}-per-hour", "0")]
        tracker = processes.start("tracker", [binaries / "tracker", info, 1, "--data-dir", "tracker", *options])
        tracker.line(time.monotonic() + PATIENCE)
        self.seeders = [self._member() for _ in range(seeders_max)]
        self.uploads = []
        for count in range(1, seeders_max + 1):
            self._share(count)

    def _share(self, count):
        group = f"of-{count}"
        owner = self.seeders[0]
        owner.ask("create_group", group)
        for member in self.seeders[1:count]:
            member.enter(owner, group)
        for member in self.seeders[:count]:
            before, start = member.process.usage()[0], time.monotonic()
            member.ask("upload_file", str(self.source.path), group)
            self.uploads.append((time.monotonic() - start, member.process.usage()[0] - before))

    def _member(self):
        self.count += 1
        return Member(self.processes, self.binaries, self.directory, f"user-{self.count}")

    def create(self):
        """Returns what `upload_file` took, each time: seconds, and CPU seconds. The first hashes; the others may know the file."""
        return self.uploads[0]

    def download(self, seeders):
        """Moves the file once."""
        leecher = self._member()
        leecher.enter(self.seeders[0], f"of-{seeders}")
        target = self.directory / f"{leecher.user}.bin"
        senders = [member.process for member in self.seeders[:seeders]]
        self.source.touch_memory()
        sample = Sample.begin(leecher.process, senders)
        start = leecher.tell("download_file", f"of-{seeders}", self.source.name, str(target))
        sample.end(leecher.event("download_complete") - start)
        self.source.check_and_remove(target)
        self.processes.end(leecher.process)
        shutil.rmtree(self.directory / leecher.user)
        return sample


class Member:
    """One user at one client."""

    def __init__(self, processes, binaries, directory, user):
        self.user = user
        command = [binaries / "client", "127.0.0.1:0", directory / "tracker_info.txt", "--data-dir", user, "--json"]
        self.process = processes.start(user, command)
        self.event("listening")
        self.ask("create_user", user, PASSWORD)
        self.ask("login", user, PASSWORD)

    def enter(self, owner, group):
        """Enters a group that the owner has."""
        self.ask("join_group", group)
        owner.ask("accept_request", group, self.user)

    def tell(self, *words):
        """Types a command; returns when that was."""
        return self.process.send(shlex.join(words))

    def ask(self, *words):
        """Types a command and waits until it is done."""
        self.tell(*words)
        self._until(lambda said: said.get("command") == words[0])

    def event(self, kind):
        """Waits for an event; returns when it came."""
        return self._until(lambda said: said.get("event") == kind)

    def _until(self, wanted):
        deadline = time.monotonic() + PATIENCE_WITH_FILES
        while True:
            at, line = self.process.line(deadline)
            said = json.loads(line)
            if said.get("ok") is False or said.get("event") in ("download_failed", "download_paused"):
                raise Failure(f"{self.user}: {line}")
            if wanted(said):
                return at


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
