"""A process with one libtorrent session: a seeder, or a leecher that begins when it is told to; or one that makes a torrent.

Invariant: nothing of Python's runs while data moves: it sleeps in the library until the torrent is finished.

    session.py seed|leech CONFIGURATION TORRENT DIRECTORY
    session.py create FILE PIECE_LEN

The configuration is JSON. A seeder writes its port. A leecher writes `ready`, adds the torrent when a line comes, and writes `complete` when every piece is checked. Both end with their input, in order: all is written then. The third makes the torrent of a file when a line comes.
"""

import json
import sys
import time
from pathlib import Path

import libtorrent

ALONE = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(libtorrent.enc_policy.pe_disabled),
    "out_enc_policy": int(libtorrent.enc_policy.pe_disabled),
    "allow_multiple_connections_per_ip": True,
    "stop_tracker_timeout": 0,
    "alert_mask": int(libtorrent.alert.category_t.status_notification | libtorrent.alert.category_t.error_notification),
}
"""Plain TCP between the peers that the tracker names, no looking for others, and no waiting for it at the end."""
WAIT_MS = 10_000
POLL_SECONDS = 0.01


def start(configuration):
    """Starts a session: `preset` of the library's own, `disk_io` for the way it reads and writes, settings besides."""
    settings = libtorrent.high_performance_seed() if configuration.get("preset") else {}
    settings |= ALONE | configuration.get("settings", {})
    parameters = libtorrent.session_params()
    parameters.settings = settings
    if "disk_io" in configuration:
        parameters.disk_io_constructor = f"{configuration['disk_io']}_disk_io_constructor"
    return libtorrent.session(parameters)


def seed(session, parameters):
    """Seeds until the input ends."""
    parameters.flags |= libtorrent.torrent_flags.seed_mode
    torrent = session.add_torrent(parameters)
    while not torrent.status().is_seeding:
        time.sleep(POLL_SECONDS)
    print(session.listen_port(), flush=True)
    sys.stdin.read()


def leech(session, parameters):
    """Fetches once a line comes; stays until the input ends."""
    session.listen_port()
    print("ready", flush=True)
    sys.stdin.readline()
    session.add_torrent(parameters)
    finished = False
    while not finished:
        session.wait_for_alert(WAIT_MS)
        for alert in session.pop_alerts():
            finished |= isinstance(alert, libtorrent.torrent_finished_alert)
            if alert.category() & libtorrent.alert.category_t.error_notification:
                print(alert.message(), file=sys.stderr, flush=True)
    print("complete", flush=True)
    sys.stdin.read()


def create(file, piece_len):
    """Hashes the pieces of a file once a line comes."""
    torrent = libtorrent.create_torrent(libtorrent.list_files(file), piece_len, libtorrent.create_torrent.v1_only)
    print("ready", flush=True)
    sys.stdin.readline()
    libtorrent.set_piece_hashes(torrent, str(Path(file).parent))
    torrent.generate()
    print("complete", flush=True)
    sys.stdin.read()


def main(part, configuration, torrent, directory):
    """Plays a part that has a session."""
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = directory
    # It starts at once, and not when a queue lets it.
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    session = start(json.loads(configuration))
    if part == "seed":
        seed(session, parameters)
    else:
        leech(session, parameters)


if __name__ == "__main__":
    if sys.argv[1] == "create":
        create(sys.argv[2], int(sys.argv[3]))
    else:
        main(*sys.argv[1:])
