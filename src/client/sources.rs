//! Other groups as sources: a download takes pieces in every group of the user's in which somebody
//! offers the same content.
//!
//! **Invariant:** a group is a source only while a tracker has listed the same content there for
//! this user, as a member, and the download goes on. Nobody there gets a byte, or hears which
//! pieces are here: whoever offers a file in a group need not have a right to it in another, or
//! even have it. What they see is what everybody sees of a leecher: that this device fetches the
//! file.
//!
//! So a former member of the group of the download, who knows the info hash, cannot list it in
//! another common group to have it from there. Who wants to give there, too, shares or downloads
//! the file there; that group is then no source any more, but one like the first.
//!
//! The thread "sources" asks: shortly after a download has begun or goes on, and again every two
//! minutes while nothing comes. It asks with what every tracker knows, one [`Request::FindFile`] a
//! group, so nothing is learned of groups that the user is not in. The download's own group is
//! asked at the same time as ever; nothing waits for this.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Weak;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::core::Inner;
use super::groups::is_member;
use super::library::{Download, Library};
use super::trackers::Need;
use crate::net::Stop;
use crate::types::{FileFacts, GroupId, InfoHash, Label};
use crate::wire::tracker::{Reply, Request};

/// How often it is looked which downloads go on.
const TICK: Duration = Duration::from_millis(250);
/// How long a download goes on before its other sources are asked for: a small file has come by
/// then.
const FIRST_AFTER: Duration = Duration::from_millis(500);
/// How long after that they are asked for again, if nothing comes.
const AGAIN_AFTER: Duration = Duration::from_secs(120);
/// How long after a question that no tracker has answered.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Downloads whose sources are asked for at one go.
const DOWNLOADS_MAX: usize = 32;
/// Groups asked about for one download.
const GROUPS_MAX: usize = 64;
/// Time for one question: with trackers that are busy there is another time.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The groups that are sources, by what they are sources of.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    groups: BTreeMap<InfoHash, BTreeSet<GroupId>>,
    /// Files of which they have lapsed since it was last looked: a download that was paused and
    /// resumed meanwhile begins anew.
    lapsed: Vec<InfoHash>,
}

impl Sources {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn has(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.groups.get(&info_hash).is_some_and(|groups| groups.contains(&group))
    }

    pub(crate) fn of(&self, info_hash: InfoHash) -> impl Iterator<Item = GroupId> {
        self.groups.get(&info_hash).into_iter().flatten().copied()
    }

    fn add(&mut self, info_hash: InfoHash, group: GroupId) -> bool {
        self.groups.entry(info_hash).or_default().insert(group)
    }

    fn remove(&mut self, info_hash: InfoHash, group: GroupId) {
        if let Some(groups) = self.groups.get_mut(&info_hash) {
            groups.remove(&group);
            if groups.is_empty() {
                self.groups.remove(&info_hash);
            }
        }
    }

    /// The files of which a group is a source.
    fn files_in(&self, group: GroupId) -> Vec<InfoHash> {
        self.groups
            .iter()
            .filter(|(_, groups)| groups.contains(&group))
            .map(|(info_hash, _)| *info_hash)
            .collect()
    }
}

impl Library {
    /// Takes out those sources of a file that are none any more, and returns them: its download
    /// does not go on, or this device has come to take part in the group as others do.
    fn take_lapsed(&mut self, info_hash: InfoHash) -> Vec<(GroupId, InfoHash)> {
        let goes_on = self.downloads.get(info_hash).is_some_and(Download::takes_part);
        let lapsed: Vec<GroupId> = self
            .sources
            .of(info_hash)
            .filter(|group| !goes_on || self.serves(info_hash, *group))
            .collect();
        lapsed.iter().for_each(|group| self.sources.remove(info_hash, *group));
        if !lapsed.is_empty() && !goes_on {
            self.sources.lapsed.push(info_hash);
        }
        lapsed.into_iter().map(|group| (group, info_hash)).collect()
    }

    /// Tells whether the download is to run, and does not wait for others.
    fn is_let_run(&self, info_hash: InfoHash) -> bool {
        self.downloads.get(info_hash).is_some_and(Download::is_let_run)
    }

    /// The downloads whose sources are to be asked for now, if a tracker can be asked.
    fn due(
        &mut self,
        due: &mut HashMap<InfoHash, Instant>,
        now: Instant,
        is_reachable: bool,
    ) -> Vec<Wanted> {
        std::mem::take(&mut self.sources.lapsed)
            .iter()
            .for_each(|info_hash| _ = due.remove(info_hash));
        let running = || self.downloads.iter().filter(|download| download.is_let_run());
        let going: HashSet<InfoHash> = running().map(Download::info_hash).collect();
        due.retain(|info_hash, _| going.contains(info_hash));
        let mut wanted = Vec::new();
        for download in running() {
            let at = due.entry(download.info_hash()).or_insert(now + FIRST_AFTER);
            let has_none = !self.sources.groups.contains_key(&download.info_hash());
            if *at > now || wanted.len() >= DOWNLOADS_MAX || !is_reachable {
                continue;
            }
            *at = now + AGAIN_AFTER;
            // One that has sources and gets what it needs is left to it.
            if has_none || download.status().bytes_per_second == 0 {
                let row = &download.row;
                wanted.push(Wanted {
                    group: row.group,
                    label: row.label.clone(),
                    facts: row.facts.clone(),
                });
            }
        }
        wanted
    }
}

/// A download of which other sources are asked for.
struct Wanted {
    group: GroupId,
    label: Label,
    facts: FileFacts,
}

/// Asks for the sources of downloads until the client stops. Runs on the thread "sources".
pub(crate) fn find_sources(inner: &Weak<Inner>, stop: &Stop) {
    // When each download that goes on is next looked at.
    let mut due: HashMap<InfoHash, Instant> = HashMap::new();
    while !stop.wait(TICK) {
        let Some(inner) = inner.upgrade() else { return };
        let is_reachable = inner.trackers.is_reachable();
        let wanted = inner.library.lock().due(&mut due, Instant::now(), is_reachable);
        if !wanted.is_empty() && !inner.ask_for_sources(&wanted) {
            due.extend(
                wanted.iter().map(|wanted| (wanted.facts.info_hash, Instant::now() + RETRY_AFTER)),
            );
        }
    }
}

impl Inner {
    /// Asks a tracker which of the user's other groups offer these files, and takes part in their
    /// swarms there; false if none told which groups these are.
    fn ask_for_sources(&self, wanted: &[Wanted]) -> bool {
        let Ok(groups) = self.my_groups().all() else { return false };
        let mine: Vec<(GroupId, Label)> = groups
            .into_iter()
            .filter(|group| is_member(group.part))
            .map(|group| (group.group, group.label))
            .collect();
        for Wanted { group: own, label, facts } in wanted {
            for (group, name) in mine.iter().filter(|(group, _)| group != own).take(GROUPS_MAX) {
                if self.stop.is_set() || !self.library.lock().is_let_run(facts.info_hash) {
                    break;
                }
                if self.is_listed(*group, facts) && self.add_source(facts.info_hash, *group) {
                    info!("{label} is offered in {name} too: it is fetched from there as well");
                }
            }
        }
        true
    }

    /// Tells whether somebody offers the content in a group.
    fn is_listed(&self, group: GroupId, facts: &FileFacts) -> bool {
        let request = Request::FindFile { group, file: facts.id() };
        match self.trackers.patient().call_within(&request, Need::Session, ASK_TIMEOUT) {
            Ok(Reply::File(entry)) => entry.group == group && entry.facts == *facts,
            Ok(_) => false,
            Err(error) => {
                debug!("{} is not asked for in another group: {error}", facts.info_hash);
                false
            }
        }
    }

    /// Makes a group a source of a download; false if the download does not go on, or the group is
    /// one already.
    fn add_source(&self, info_hash: InfoHash, group: GroupId) -> bool {
        let added = {
            let mut library = self.library.lock();
            let runs = library.is_let_run(info_hash);
            runs && !library.serves(info_hash, group) && library.sources.add(info_hash, group)
        };
        if added {
            self.announce([(group, info_hash)]);
        }
        added
    }

    /// Adds to these files' parts those that have lapsed with them: sources of a download that does
    /// not go on any more. Links that rest on them end.
    pub(crate) fn and_left_sources(
        &self,
        files: impl IntoIterator<Item = (GroupId, InfoHash)>,
    ) -> Vec<(GroupId, InfoHash)> {
        let mut files: Vec<(GroupId, InfoHash)> = files.into_iter().collect();
        let lapsed: Vec<(GroupId, InfoHash)> = {
            let mut library = self.library.lock();
            if library.sources.is_empty() {
                return files;
            }
            files.iter().flat_map(|(_, info_hash)| library.take_lapsed(*info_hash)).collect()
        };
        self.end_source_links(&lapsed);
        files.extend(lapsed);
        files
    }

    /// A download is complete: it takes nothing any more, and is withdrawn where it only took.
    pub(crate) fn leave_sources(&self, info_hash: InfoHash) {
        let left: Vec<(GroupId, InfoHash)> = {
            let mut library = self.library.lock();
            let left: Vec<_> =
                library.sources.of(info_hash).map(|group| (group, info_hash)).collect();
            left.iter().for_each(|(group, info_hash)| library.sources.remove(*info_hash, *group));
            left
        };
        self.end_source_links(&left);
        if !left.is_empty() {
            self.announce(left);
        }
    }

    /// The user is out of a group: it is a source of nothing any more.
    pub(crate) fn leave_source(&self, group: GroupId) {
        let left: Vec<(GroupId, InfoHash)> = {
            let mut library = self.library.lock();
            let files = library.sources.files_in(group);
            files.iter().for_each(|info_hash| library.sources.remove(*info_hash, group));
            files.into_iter().map(|info_hash| (group, info_hash)).collect()
        };
        self.end_source_links(&left);
        if !left.is_empty() {
            self.announce(left);
        }
    }

    fn end_source_links(&self, left: &[(GroupId, InfoHash)]) {
        if let Some(engine) = self.engine().filter(|_| !left.is_empty()) {
            engine.end_links(|link| left.contains(&(link.proof.group, link.info_hash)));
        }
    }

    /// The groups that are sources of a file now.
    pub(crate) fn sources(&self, info_hash: InfoHash) -> Vec<GroupId> {
        self.library.lock().sources_of(info_hash).collect()
    }

    /// A group's name as last seen.
    pub(crate) fn group_name(&self, group: GroupId) -> String {
        self.group_names
            .lock()
            .get(&group)
            .map_or_else(|| format!("group {:.8}", group.to_string()), Label::to_string)
    }
}

#[cfg(test)]
mod tests;
