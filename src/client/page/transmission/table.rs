//! The numbers of torrents, and which have changed lately.
//!
//! **Invariant:** a torrent keeps its number while it exists, also in the gap when a finished
//! download becomes a share. Numbers are not reused. The table holds the present torrents, and
//! those that have gone within [`RECENT`].

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::fields::Torrent;
use crate::client::api::{Download, DownloadState, Upload};
use crate::types::InfoHash;

/// How long a torrent that has changed counts as active, and one that has gone is told.
const RECENT: Duration = Duration::from_secs(60);

/// The torrents that callers were told of.
#[derive(Default)]
pub(super) struct Table {
    last_id: i64,
    known: HashMap<InfoHash, Known>,
}

struct Known {
    id: i64,
    /// What it was when it changed last.
    seen: (Option<DownloadState>, u64, u64),
    changed: Instant,
    /// When it was missed first.
    gone: Option<Instant>,
}

impl Table {
    /// Makes torrents of a client's downloads and shares, in the order of their numbers. A content
    /// that is shared in several groups is one torrent, of the first group.
    pub(super) fn number(
        &mut self,
        downloads: Vec<Download>,
        uploads: Vec<Upload>,
        now: Instant,
    ) -> Vec<Torrent> {
        let mut at: HashMap<InfoHash, usize> = HashMap::new();
        let mut torrents: Vec<(InfoHash, Torrent)> = Vec::new();
        for download in downloads {
            let hash = download.info_hash;
            at.insert(hash, torrents.len());
            torrents.push((hash, Torrent::of_download(download, 0)));
        }
        for upload in uploads {
            let hash = upload.info_hash;
            match at.get(&hash) {
                // The statistics of a content are those of all its groups.
                Some(at) => {
                    let torrent = &mut torrents[*at].1;
                    torrent.sent = torrent.sent.max(upload.bytes_sent);
                    let rate = &mut torrent.sent_per_second;
                    *rate = (*rate).max(upload.sent_per_second);
                }
                None => {
                    at.insert(hash, torrents.len());
                    torrents.push((hash, Torrent::of_share(upload, 0)));
                }
            }
        }
        let present: HashSet<InfoHash> = torrents.iter().map(|(hash, _)| *hash).collect();
        self.known.retain(|hash, known| {
            let is_over = known.gone.is_some_and(|gone| now.duration_since(gone) >= RECENT);
            known.gone = (!present.contains(hash)).then(|| known.gone.unwrap_or(now));
            !is_over
        });
        let mut torrents: Vec<Torrent> =
            torrents.into_iter().map(|(hash, torrent)| self.note(hash, torrent, now)).collect();
        torrents.sort_by_key(|torrent| torrent.id);
        torrents
    }

    fn note(&mut self, hash: InfoHash, mut torrent: Torrent, now: Instant) -> Torrent {
        let seen = (torrent.state, torrent.done, torrent.sent);
        let last_id = &mut self.last_id;
        let known = self.known.entry(hash).or_insert_with(|| {
            *last_id += 1;
            Known { id: *last_id, seen, changed: now, gone: None }
        });
        if known.seen != seen {
            (known.seen, known.changed) = (seen, now);
        }
        torrent.id = known.id;
        let is_active =
            torrent.state == Some(DownloadState::Running) || torrent.sent_per_second > 0;
        torrent.is_recent = is_active || now.duration_since(known.changed) < RECENT;
        torrent
    }

    /// Makes a torrent of a download that has just begun.
    pub(super) fn add(&mut self, download: Download, now: Instant) -> Torrent {
        self.note(download.info_hash, Torrent::of_download(download, 0), now)
    }

    /// The numbers of those that have gone lately.
    pub(super) fn removed(&self, now: Instant) -> Vec<i64> {
        let is_recent = |gone: Instant| now.duration_since(gone) < RECENT;
        let mut ids: Vec<i64> = self
            .known
            .values()
            .filter(|known| known.gone.is_some_and(is_recent))
            .map(|known| known.id)
            .collect();
        ids.sort_unstable();
        ids
    }
}
