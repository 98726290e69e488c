"""Configurations of libtorrent. Invariant: the first is the fastest that was found, and the one that Posse is compared with.

`preset` is the library's own `high_performance_seed`; `disk_io` names the way it reads and writes (`pread` is its default).
"""

ALL = {
    "preset": {"preset": True},
    "defaults": {},
    "preset, mmap": {"preset": True, "disk_io": "mmap"},
    "preset, posix": {"preset": True, "disk_io": "posix"},
    "preset, 2 disk threads": {"preset": True, "settings": {"aio_threads": 2}},
    "preset, 128 requests": {"preset": True, "settings": {"max_out_request_queue": 128}},
    "preset, 1 MiB watermark": {"preset": True, "settings": {"send_buffer_watermark": 1 << 20, "send_buffer_low_watermark": 1 << 18}},
    "preset, more queued writes": {"preset": True, "settings": {"max_queued_disk_bytes": 64 << 20}},
}
BEST = next(iter(ALL.values()))
