#!/usr/bin/env python3
"""Posse beside other clients: aria2 and libtorrent move the same file on the same machine in the same run.

    cargo build --release && python3 benches/peers.py [--runs 3 --mib 1024 --seeders 1,2 --dir DIR --binaries DIR]
    python3 benches/peers.py --tune [--mib 1024 --seeders 1,2]

Needs Python 3.11 on Linux; aria2 (on Debian: `apt install aria2`) and libtorrent (`pip install libtorrent`, into the Python that runs
this) are measured where they are installed. Posse encrypts and hashes twice; the others send in clear and hash once. Each run measures
all, one right after the other, each time another first; every figure is the median of the runs. Every copy is compared with the file.

The second form measures libtorrent alone, in each of the configurations that were tried; the first of them is the one that Posse is
compared with. The files are in memory unless told otherwise (--dir): a disk would be the slowest part of all of them.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

# No traces in the source tree.
sys.dont_write_bytecode = True

from beside import aria2, configurations, libtorrent_peer
from beside.ours import Ours
from beside.process import Failure, Processes, interrupt_on_signals
from beside.source import Source, aes_gcm_rate, sha1_rate

MEMORY = "/dev/shm"
BARS = {1: 1.4, 2: 1.2}
"""Posse's speed over libtorrent's, by the number of seeders."""
MEMORY_BAR = 64 << 20
HEADER = ["", "MB/s", "CPU s, both sides", "peak receiving", "peak sending"]


def options():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--runs", type=int, default=3, help="how often everything is measured")
    add("--mib", type=int, default=1024, help="length of the file in MiB")
    add("--seeders", default="1,2", help="numbers of seeders, with commas")
    memory = MEMORY if Path(MEMORY).is_dir() else tempfile.gettempdir()
    add("--dir", default=memory, help=f"where the files are (default: {memory})")
    add("--binaries", type=Path, default=Path(__file__).parents[1] / "target/release", help="directory of `tracker` and `client`")
    add("--tune", action="store_true", help="measure libtorrent's configurations only")
    return parser.parse_args()


def main():
    """Measures what there is; whatever the figures are, that is a success."""
    chosen = options()
    chosen.seeders = [int(number) for number in chosen.seeders.split(",")]
    absent = [reason for reason in (aria2.missing(), libtorrent_peer.missing()) if reason]
    for reason in absent:
        print(reason)
    if len(absent) == 2 or (chosen.tune and libtorrent_peer.missing()):
        print("nothing to compare with")
        return 0
    interrupt_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="posse-peers-", dir=chosen.dir) as directory, Processes(Path(directory)) as processes:
            (tune if chosen.tune else compare)(chosen, processes)
    except (Failure, OSError) as failure:
        print(f"peers: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("peers: interrupted", file=sys.stderr)
        return 130
    return 0


def compare(chosen, processes):
    """Measures all of them, interleaved."""
    source = Source(processes.directory, chosen.mib)
    clients = [Ours(processes, source, chosen.binaries.resolve(), max(chosen.seeders))]
    if not libtorrent_peer.missing():
        clients.append(libtorrent_peer.Libtorrent(processes, source, max(chosen.seeders), configurations.BEST))
    if not aria2.missing():
        clients.append(aria2.Aria2(processes, source, max(chosen.seeders)))
    # Not counted: the first to fill the system's memory pays for pages that the others find ready.
    clients[-1].download(1)
    samples = {(client.name, seeders): [] for client in clients for seeders in chosen.seeders}
    for run in range(chosen.runs):
        for seeders in chosen.seeders:
            for client in clients[run % len(clients) :] + clients[: run % len(clients)]:
                samples[client.name, seeders].append(client.download(seeders))
    print(f"{chosen.mib} MiB over loopback in pieces of 512 KiB, median of {chosen.runs}, files in {chosen.dir}")
    for seeders in chosen.seeders:
        report(seeders, clients, samples, source)
    report_creating(clients, source)


def report(seeders, clients, samples, source):
    """Prints the table for a number of seeders, and how we stand."""
    print(f"\n{seeders} seeder{'s' if seeders > 1 else ''}")
    medians = {client.name: Median(samples[client.name, seeders], source) for client in clients}
    table([HEADER] + [[name, *median.columns()] for name, median in medians.items()])
    ours = medians[clients[0].name]
    for client in clients[1:]:
        theirs = medians[client.name]
        is_bar = isinstance(client, libtorrent_peer.Libtorrent)
        bar = f" (bar: {BARS[seeders]})" if is_bar and seeders in BARS else ""
        print(f"ours / {client.name}: {ours.rate / theirs.rate:.2f} of its speed{bar}, {ours.cpu / theirs.cpu:.2f} of its CPU")
        if is_bar:
            report_cpu(ours, theirs, source)
    print(f"memory: {max(ours.peak_receiver, ours.peak_sender) / MEMORY_BAR:.2f} of the bar, 64 MiB")


def report_cpu(ours, theirs, source):
    """Compares CPU seconds: theirs plus what the security costs that they have not."""
    sha1, aes = sha1_rate(), aes_gcm_rate()
    if aes is None:
        print("CPU: without the program openssl the cost of AES-GCM is not known here")
        return
    extra_sha1, extra_aes = source.len / sha1, 2 * source.len / aes
    allowed = theirs.cpu + extra_sha1 + extra_aes
    terms = f"theirs {theirs.cpu:.2f} + SHA-1 {extra_sha1:.2f} ({sha1 / 1e6:.0f} MB/s) + AES-GCM twice {extra_aes:.2f} ({aes / 1e6:.0f} MB/s)"
    print(f"CPU: {ours.cpu:.2f} s, {ours.cpu / allowed:.2f} of the bar: {terms} = {allowed:.2f} s")


def report_creating(clients, source):
    """Compares `upload_file`, which hashes twice, with making a torrent."""
    print()
    for client in clients:
        took = client.create()
        if took:
            what = "upload_file" if isinstance(client, Ours) else "a torrent made"
            print(f"{client.name}: {what} at {source.rate(took[0]):.0f} MB/s, {took[1]:.2f} CPU s")


def tune(chosen, processes):
    """Measures libtorrent in every configuration."""
    source = Source(processes.directory, chosen.mib)
    warm = True
    for name, configuration in configurations.ALL.items():
        client = libtorrent_peer.Libtorrent(processes, source, max(chosen.seeders), configuration)
        if warm:
            client.download(1)
            warm = False
        for seeders in chosen.seeders:
            columns = Median([client.download(seeders) for _ in range(chosen.runs)], source).columns()
            # At once: it takes long, and whoever has seen enough may end it.
            print(f"{name:28} {seeders} seeding: " + ", ".join(f"{value} {what}" for value, what in zip(columns, HEADER[1:])), flush=True)
        client.stop()


class Median:
    """The medians of several transfers."""

    def __init__(self, samples, source):
        middle = lambda value: statistics.median(value(sample) for sample in samples)
        self.rate = source.rate(middle(lambda sample: sample.seconds))
        self.cpu = middle(lambda sample: sample.cpu)
        self.peak_receiver = middle(lambda sample: sample.peak_receiver)
        self.peak_sender = middle(lambda sample: sample.peak_sender)

    def columns(self):
        """As they are shown."""
        mib = lambda count: f"{count / (1 << 20):.0f} MiB"
        return [f"{self.rate:.0f}", f"{self.cpu:.2f}", mib(self.peak_receiver), mib(self.peak_sender)]


def table(rows):
    """Prints rows with columns aligned."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for first, *rest in rows:
        cells = [first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(rest, widths[1:])]
        print("  ".join(cells))


if __name__ == "__main__":
    sys.exit(main())
