//! Other groups as sources: a download takes pieces in every group of the user where a member
//! offers the same content.
//!
//! **Invariant:** a group is a source only while the download continues, and after a tracker has
//! listed the same content there for this user, as a member. Members of a source receive no data,
//! and do not see which pieces are here: a member who offers a file in one group may have no right
//! to it in another. They see what everyone sees of a leecher: that this device fetches the file.
//!
//! So a former member of the download's group, who knows the info hash, cannot list it in another
//! common group to fetch it from there. A user who wants to give there, too, shares or downloads
//! the file there; that group is then no longer a source, but a group like the first.
//!
//! Trackers are asked shortly after a download has begun or resumed, and then every two minutes:
//! one `FindFile` for each group of the user. They learn of no group that the user is not in.
//! Nothing waits for the answer.
//!
//! Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::Session;
use super::input::{Ask, Effect, Ends, Now, Order, Wanted};
use super::library::{Download, Library};
use crate::types::{GroupId, InfoHash};

/// Delay of the first question: a small file is complete by then.
const FIRST_AFTER: Duration = Duration::from_millis(500);
/// Pause before the next question.
const AGAIN_AFTER: Duration = Duration::from_secs(120);
/// Pause after a question that no tracker has answered.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Maximum number of downloads in one question.
const DOWNLOADS_MAX: usize = 32;

/// When the sources of each running download are next asked for.
pub(super) type Due = HashMap<InfoHash, Duration>;

impl Library {
    /// Removes and returns those sources of a file that have lapsed: its download does not
    /// continue, or this device now serves the file in that group.
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
    /// A download begins or resumes: its sources are asked for soon.
    pub(super) fn want_sources(&mut self, info_hash: InfoHash, now: Now) {
        self.source_questions.due.entry(info_hash).or_insert(now.up + FIRST_AFTER);
    }

    /// Asks for the sources that are due.
    pub(super) fn ask_for_sources(&mut self, now: Now) {
        if self.source_questions.due.is_empty() || self.source_questions.is_asking {
            return;
        }
        let library = &self.library;
        self.source_questions
            .due
            .retain(|info_hash, _| library.download(*info_hash).is_some_and(Download::is_let_run));
        let due: Vec<InfoHash> = self
            .source_questions
            .due
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
            self.source_questions.due.insert(info_hash, now.up + AGAIN_AFTER);
            if let Some(download) = self.library.download(info_hash) {
                let row = &download.row;
                wanted.push(Wanted {
                    group: row.group,
                    label: row.label.clone(),
                    facts: row.facts.clone(),
                });
            }
        }
        self.source_questions.is_asking = true;
        self.emit(Effect::Ask(Ask::Sources(wanted)));
    }

    /// When sources are next to be asked for.
    pub(super) fn sources_at(&self) -> Option<Duration> {
        self.source_questions
            .due
            .values()
            .min()
            .copied()
            .filter(|_| !self.source_questions.is_asking)
    }

    /// The trackers have listed the groups that offer these files, or none has answered.
    pub(super) fn sources_told(
        &mut self,
        wanted: &[InfoHash],
        found: Option<&[(InfoHash, GroupId)]>,
        now: Now,
    ) {
        self.source_questions.is_asking = false;
        let Some(found) = found else {
            for info_hash in wanted {
                if let Some(at) = self.source_questions.due.get_mut(info_hash) {
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

    /// Adds the lapsed sources of these files' downloads. Links that rest on those end.
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
                self.source_questions.due.remove(info_hash);
            }
            lapsed.extend(taken);
        }
        self.end_source_links(&lapsed);
        files.extend(lapsed);
        files
    }

    /// A download is complete: it leaves the groups that were only sources.
    pub(super) fn leave_sources(&mut self, info_hash: InfoHash, now: Now) {
        let left: Vec<_> =
            self.library.sources.of(info_hash).map(|group| (group, info_hash)).collect();
        left.iter().for_each(|(group, info_hash)| self.library.sources.remove(*info_hash, *group));
        self.end_source_links(&left);
        self.announce(left, now);
    }

    /// The user is no longer in a group: it is no source any more.
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
