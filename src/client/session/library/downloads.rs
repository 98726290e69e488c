//! The downloads of a session.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Download, Key, Library};
use crate::client::session::input::TransferId;
use crate::store::{DownloadRow, Progress};
use crate::swarm::part_path;
use crate::types::InfoHash;

/// Ended downloads of this session that stay in memory.
const ENDED_MAX: usize = 1_000;

impl Library {
    /// Adds a download at the end and marks it to be written. It replaces one of the same content.
    pub(crate) fn push(&mut self, download: Download) {
        self.touch(Key::Download(download.info_hash()));
        self.restore(download);
    }

    /// The same for a download that the store has.
    pub(crate) fn restore(&mut self, download: Download) {
        self.take_out(download.info_hash());
        let number = self.next;
        self.next += 1;
        self.by_content.insert(download.info_hash(), number);
        for place in places(&download) {
            self.by_place.insert((hash_of(&place), number));
        }
        self.order.insert(number, download);
    }

    /// Removes a download, also from the store.
    pub(crate) fn remove(&mut self, info_hash: InfoHash) -> Option<Download> {
        let download = self.take_out(info_hash)?;
        self.touch(Key::Download(info_hash));
        self.queue.forget(info_hash);
        Some(download)
    }

    fn take_out(&mut self, info_hash: InfoHash) -> Option<Download> {
        let number = self.by_content.remove(&info_hash)?;
        let download = self.order.remove(&number)?;
        for place in places(&download) {
            self.by_place.remove(&(hash_of(&place), number));
        }
        if let Some(end) = download.ended {
            self.ends.remove(&end);
        }
        Some(download)
    }

    /// The download of that content.
    pub(crate) fn download(&self, info_hash: InfoHash) -> Option<&Download> {
        self.order.get(self.by_content.get(&info_hash)?)
    }

    /// The same, to change state that is not in its row.
    pub(crate) fn download_mut(&mut self, info_hash: InfoHash) -> Option<&mut Download> {
        self.order.get_mut(self.by_content.get(&info_hash)?)
    }

    /// Changes a download's row, except for its content and its target, and marks it to be written.
    pub(crate) fn change(&mut self, info_hash: InfoHash, change: impl FnOnce(&mut DownloadRow)) {
        let Some(number) = self.by_content.get(&info_hash) else { return };
        if let Some(download) = self.order.get_mut(number) {
            change(Arc::make_mut(&mut download.row));
            self.touch(Key::Download(info_hash));
        }
    }

    /// Restores a download's earlier row and marks it to be written.
    pub(crate) fn restore_row(&mut self, before: &Arc<DownloadRow>) {
        let info_hash = before.facts.info_hash;
        let same_place =
            self.download(info_hash).is_some_and(|download| download.row.target == before.target);
        if same_place {
            self.change(info_hash, |row| row.clone_from(before));
        } else {
            self.push(Download::new((**before).clone()));
        }
    }

    /// Tells whether the store has a download's row as it is now.
    pub(crate) fn is_written(&self, info_hash: InfoHash) -> bool {
        !self.dirty.contains(&Key::Download(info_hash))
    }

    /// The download that has that id in the engine.
    pub(crate) fn of_transfer(&self, info_hash: InfoHash, id: TransferId) -> Option<&Download> {
        self.download(info_hash).filter(|download| download.transfer() == Some(id))
    }

    /// All downloads, in the order of requests.
    pub(crate) fn downloads(&self) -> impl DoubleEndedIterator<Item = &Download> {
        self.order.values()
    }

    /// Notes the number of a download's end. The earliest ends beyond [`ENDED_MAX`] leave memory;
    /// the store has them.
    pub(crate) fn note_end(&mut self, info_hash: InfoHash, number: u64) {
        if let Some(download) = self.download_mut(info_hash)
            && let Some(before) = download.ended.replace(number)
        {
            self.ends.remove(&before);
        }
        self.ends.insert(number, info_hash);
        let excess = self.ends.len().saturating_sub(ENDED_MAX);
        let oldest: Vec<(u64, InfoHash)> =
            self.ends.iter().take(excess).map(|(number, of)| (*number, *of)).collect();
        for (number, oldest) in oldest {
            // An unwritten row stays until the next end.
            if self.dirty.contains(&Key::Download(oldest)) {
                continue;
            }
            self.ends.remove(&number);
            // A failed download stays: it can be resumed.
            let is_complete = |download: &Download| download.row.progress == Progress::Complete;
            if self.download(oldest).is_some_and(is_complete) {
                self.take_out(oldest);
            }
        }
    }

    /// A download that runs again has no end.
    pub(crate) fn forget_end(&mut self, info_hash: InfoHash) {
        let end = self.download_mut(info_hash).and_then(|download| download.ended.take());
        if let Some(end) = end {
            self.ends.remove(&end);
        }
    }

    /// Finds a download by the display names of its group and file.
    pub(crate) fn find(&self, group: &str, file: &str) -> Option<&Download> {
        // The latest, if an earlier one has the same names.
        let is_named = |d: &&Download| {
            d.row.group_label.as_str() == group && d.row.label.as_str() == file && d.is_shown()
        };
        self.order.values().rev().find(is_named)
    }

    /// Tells whether the file is being downloaded now.
    pub(crate) fn is_downloading(&self, info_hash: InfoHash) -> bool {
        self.download(info_hash).is_some_and(|download| download.row.progress == Progress::Running)
    }

    /// Another download that writes the same file, or whose `.part` is this one's target, or whose
    /// target is this one's `.part`.
    pub(crate) fn rival(&self, row: &DownloadRow) -> Option<&DownloadRow> {
        let part = |of: &DownloadRow| part_path(&of.target, of.facts.info_hash);
        let own_part = part(row);
        let clashes = |of: &&DownloadRow| match of.progress {
            Progress::Running | Progress::Paused(_) => {
                of.target == row.target || part(of) == row.target || of.target == own_part
            }
            // Its `.part` is kept: a later download of the content continues it.
            Progress::Failed(_) => part(of) == row.target,
            Progress::Complete | Progress::Cancelled => false,
        };
        let near = self.near(&row.target).chain(self.near(&own_part));
        let near = near.map(|download| &*download.row);
        near.filter(|of| of.facts.info_hash != row.facts.info_hash).find(clashes)
    }

    /// A failed download of another version of the file to the same path.
    pub(crate) fn other_version(&self, row: &DownloadRow) -> Option<&Download> {
        let is_other = |of: &&Download| {
            let same_name = of.row.group == row.group
                && of.row.facts.name == row.facts.name
                && of.row.target == row.target;
            same_name
                && of.row.facts.info_hash != row.facts.info_hash
                && matches!(of.row.progress, Progress::Failed(_))
        };
        self.near(&row.target).find(is_other)
    }

    /// The downloads with that target path or `.part` path, and any whose path has the same hash.
    fn near<'a>(&'a self, place: &Path) -> impl Iterator<Item = &'a Download> + use<'a> {
        let hash = hash_of(place);
        let numbers = self.by_place.range((hash, 0)..=(hash, u64::MAX));
        numbers.filter_map(|(_, number)| self.order.get(number))
    }

    /// Checks the invariant.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(self.order.len(), self.by_content.len());
        for (number, download) in &self.order {
            assert_eq!(self.by_content.get(&download.info_hash()), Some(number));
            for place in places(download) {
                assert!(self.by_place.contains(&(hash_of(&place), *number)));
            }
        }
        assert_eq!(self.by_place.len(), 2 * self.order.len());
        for (end, info_hash) in &self.ends {
            let ended = self.download(*info_hash).and_then(|download| download.ended);
            assert_eq!(ended, Some(*end));
        }
    }
}

fn hash_of(place: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    hasher.finish()
}

fn places(download: &Download) -> [PathBuf; 2] {
    let target = &download.row.target;
    [target.clone(), part_path(target, download.info_hash())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::session::sim::download_row;

    #[test]
    fn an_ended_download_is_not_forgotten_before_it_is_written() {
        let mut library = Library::default();
        let row = |number: u64| {
            let mut row = download_row(0);
            row.progress = Progress::Complete;
            row.target = format!("/{number}").into();
            let mut hash = [0; 20];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            row.facts.info_hash = InfoHash::from_bytes(hash);
            row
        };
        let content = |number| row(number).facts.info_hash;
        let more = ENDED_MAX as u64 + 1;
        for number in 0..more {
            library.push(Download::new(row(number)));
            library.note_end(content(number), number);
        }
        library.check();
        assert!(library.download(content(0)).is_some(), "it is to be written");
        library.written();
        library.push(Download::new(row(more)));
        library.note_end(content(more), more);
        library.check();
        assert!(library.download(content(0)).is_none() && library.download(content(1)).is_none());
        assert!(library.download(content(2)).is_some());
    }
}
