"""The file that is moved, its metainfo as BEP 3 has it, and the costs that no client can avoid.

Invariant: no two pieces of the file have the same content, so that nothing is saved by luck.
"""

import hashlib
import os
import shutil
import subprocess
import time

from .process import Failure

CHUNK_LEN = 1 << 20
PIECE_LEN = 512 << 10
SAMPLE_SECONDS = 1.0


class Source:
    """A file of random bytes, and what its torrent files say of it."""

    def __init__(self, directory, mib):
        self.len = mib << 20
        self.name = "data.bin"
        self.directory = directory / "source"
        self.directory.mkdir()
        self.path = self.directory / self.name
        whole, pieces = hashlib.sha1(), []
        with open(self.path, "wb") as file:
            for _ in range(mib):
                chunk = os.urandom(CHUNK_LEN)
                whole.update(chunk)
                pieces += [hashlib.sha1(chunk[at : at + PIECE_LEN]).digest() for at in range(0, CHUNK_LEN, PIECE_LEN)]
                file.write(chunk)
        self.sha1 = whole.hexdigest()
        self.info = {b"length": self.len, b"name": self.name.encode(), b"piece length": PIECE_LEN, b"pieces": b"".join(pieces)}

    def write_torrent(self, client, announce):
        """Writes a torrent file that names a tracker; returns its path."""
        path = self.directory.parent / f"{client}.torrent"
        path.write_bytes(bencode({b"announce": announce.encode(), b"info": self.info}))
        return path

    def touch_memory(self):
        """Has the system hold as much memory as a copy needs: where a virtual machine gives free memory away, whoever comes first pays to get it back."""
        path = self.directory / "touched"
        with open(path, "wb") as file:
            zeros = bytes(CHUNK_LEN)
            for _ in range(self.len // CHUNK_LEN):
                file.write(zeros)
        os.remove(path)

    def check_and_remove(self, copy):
        """Makes sure that a copy is the same, byte by byte, and removes it."""
        with open(copy, "rb") as file:
            sha1 = hashlib.file_digest(file, "sha1").hexdigest()
        if sha1 != self.sha1:
            raise Failure(f"{copy} is not what was sent")
        os.remove(copy)

    def rate(self, seconds):
        """MB a second, if the whole file took so long."""
        return self.len / 1e6 / seconds


def bencode(value):
    """Encodes integers, byte strings and dictionaries (BEP 3)."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, list):
        return b"l%be" % b"".join(bencode(item) for item in value)
    return b"d%be" % b"".join(bencode(key) + bencode(value[key]) for key in sorted(value))


def sha1_rate():
    """Bytes of data in the cache that one core hashes in a second of CPU time."""
    chunk, count = os.urandom(PIECE_LEN), 0
    start = time.process_time()
    while time.process_time() - start < SAMPLE_SECONDS:
        hashlib.sha1(chunk).digest()
        count += 1
    return count * PIECE_LEN / (time.process_time() - start)


def aes_gcm_rate():
    """Bytes that one core encrypts in a second by AES-128-GCM in records of 16 KiB; None without the program `openssl`."""
    if shutil.which("openssl") is None:
        return None
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", str(16 << 10), "-evp", "aes-128-gcm"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rates = [line.rsplit(":", 1)[1] for line in output.splitlines() if line.startswith("+F:")]
    return float(rates[0]) if rates else None
