//! Other groups as sources: a download takes pieces in every group of the user's in which somebody
//! offers the same content.
//!
//! **Invariant:** a group is a source only while a tracker has listed the same content there for
//! this user, as a member, and the download goes on. Members of a source get no byte, and do not
//! hear which pieces are here: a member who offers a file in one group need not have a right to it
//! in another, or even have it. They see what all see of a leecher: that this device fetches the
//! file.
//!
//! So a former member of the download's group, who knows the info hash, cannot list it in another
//! common group to have it from there. A user who wants to give there, too, shares or downloads the
//! file there; that group is then no source any more, but one like the first.
//!
//! Trackers are asked shortly after a download has begun or goes on, and again every two minutes.
//! The question is one that every tracker knows, one `FindFile` a group, so nothing is learned of
//! groups that the user is not in. Nothing waits for the answer.
//!
//! Pure.

use std::time::Duration;

use imbl::HashMap;

use super::Session;
use super::input::{Ask, Effect, Ends, Now, Order, Wanted};
use super::library::{Download, Library};
use crate::types::{GroupId, InfoHash};

/// How long a download goes on before its other sources are asked for: a small file has come by
/// then.
const FIRST_AFTER: Duration = Duration::from_millis(500);
/// How long after that they are asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(120);
/// How long after a question that no tracker has answered.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Downloads whose sources are asked for at one go.
const DOWNLOADS_MAX: usize = 32;

/// When the sources of each download that goes on are next asked for.
pub(super) type Due = HashMap<InfoHash, Duration>;

impl Library {
    /// Takes out those sources of a file that are none any more, and returns them: its download
    /// does not go on, or this device has come to take part in the group as others do.
    pub(super) fn take_lapsed(&mut self, info_hash: InfoHash) -> Vec<(GroupId, InfoHash)> {
        let goes_on = self.download(info_hash).is_some_and(Download::takes_part);
        let lapsed: Vec<GroupId> = self
            .sources
            .of(info_hash)
            .filter(|group| !goes_on || self.serves(info_hash, *group))
            .collect();
        lapsed.iter().for_each(|group| self.sources.remove(info_hash, *group));
        lapsed.into_iter().map(|group| (group, info_hash)).collect()
    }
}

impl Session {
    /// A download begins or goes on: its sources are asked for soon.
    pub(super) fn want_sources(&mut self, info_hash: InfoHash, now: Now) {
        self.sources_due.entry(info_hash).or_insert(now.up + FIRST_AFTER);
    }

    /// Asks for the sources that are due.
    pub(super) fn ask_for_sources(&mut self, now: Now) {
        if self.sources_due.is_empty() || self.asks_for_sources {
            return;
        }
        let library = &self.library;
        self.sources_due
            .retain(|info_hash, _| library.download(*info_hash).is_some_and(Download::is_let_run));
        let due: Vec<InfoHash> = self
            .sources_due
            .iter()
            .filter(|(_, at)| **at <= now.up)
            .map(|(info_hash, _)| *info_hash)
            .take(DOWNLOADS_MAX)
            .collect();
        if due.is_empty() {
            return;
        }
        let mut wanted = Vec::new();
        for info_hash in due {
            self.sources_due.insert(info_hash, now.up + AGAIN_AFTER);
            if let Some(download) = self.library.download(info_hash) {
                let row = &download.row;
                wanted.push(Wanted {
                    group: row.group,
                    label: row.label.clone(),
                    facts: row.facts.clone(),
                });
            }
        }
        self.asks_for_sources = true;
        self.emit(Effect::Ask(Ask::Sources(wanted)));
    }

    /// When sources are next to be asked for.
    pub(super) fn sources_at(&self) -> Option<Duration> {
        self.sources_due.values().min().copied().filter(|_| !self.asks_for_sources)
    }

    /// A tracker has told which other groups offer what was asked for, or none has.
    pub(super) fn sources_told(
        &mut self,
        wanted: &[InfoHash],
        found: Option<&[(InfoHash, GroupId)]>,
        now: Now,
    ) {
        self.asks_for_sources = false;
        let Some(found) = found else {
            for info_hash in wanted {
                if let Some(at) = self.sources_due.get_mut(info_hash) {
                    *at = now.up + RETRY_AFTER;
                }
            }
            return;
        };
        for (info_hash, group) in found {
            let runs = self.library.download(*info_hash).is_some_and(Download::is_let_run);
            let library = &mut self.library;
            if runs
                && !library.serves(*info_hash, *group)
                && library.sources.add(*info_hash, *group)
            {
                self.announce([(*group, *info_hash)], now);
            }
        }
    }

    /// Adds to these files' parts those that have lapsed with them: sources of a download that does
    /// not go on any more. Links that rest on them end.
    pub(super) fn and_lapsed_sources(
        &mut self,
        mut files: Vec<(GroupId, InfoHash)>,
    ) -> Vec<(GroupId, InfoHash)> {
        if self.library.sources.is_empty() {
            return files;
        }
        let mut lapsed = Vec::new();
        for (_, info_hash) in &files {
            let taken = self.library.take_lapsed(*info_hash);
            if !self.library.download(*info_hash).is_some_and(Download::is_let_run) {
                self.sources_due.remove(info_hash);
            }
            lapsed.extend(taken);
        }
        self.end_source_links(&lapsed);
        files.extend(lapsed);
        files
    }

    /// A download is complete: it takes nothing any more, and is withdrawn where it only took.
    pub(super) fn leave_sources(&mut self, info_hash: InfoHash, now: Now) {
        let left: Vec<_> =
            self.library.sources.of(info_hash).map(|group| (group, info_hash)).collect();
        left.iter().for_each(|(group, info_hash)| self.library.sources.remove(*info_hash, *group));
        self.end_source_links(&left);
        self.announce(left, now);
    }

    /// The user is out of a group: it is a source of nothing any more.
    pub(super) fn leave_source(&mut self, group: GroupId, now: Now) {
        let files = self.library.sources.files_in(group);
        files.iter().for_each(|info_hash| self.library.sources.remove(*info_hash, group));
        let left: Vec<_> = files.into_iter().map(|info_hash| (group, info_hash)).collect();
        self.end_source_links(&left);
        self.announce(left, now);
    }

    fn end_source_links(&mut self, left: &[(GroupId, InfoHash)]) {
        if !left.is_empty() {
            let swarms = left.iter().copied().collect();
            self.emit(Effect::Engine(Order::EndLinks(Ends::Swarms(swarms))));
        }
    }
}

#[cfg(test)]
mod tests;
