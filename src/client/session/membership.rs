//! Handles the trackers' notifications of groups, members and peers.
//!
//! **Invariant:** a notification that ends links is handled before anything else, and does not wait
//! for the store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Session;
use super::input::{Effect, Ends, Now, Order};
use super::life::NO_MEMBER;
use super::news::{ClocksDiffer, FirstMet, KeyChange, News, RemovedFile};
use super::peers::PeerChange;
use crate::client::event::ClientEvent;
use crate::client::lan::Found;
use crate::store::{Progress, ShareState};
use crate::trust::NetworkPublicKey;
use crate::types::{
    DownloadState, FileFacts, GroupEntry, GroupId, InfoHash, PeerEntry, Stamp, UserId,
};

/// Time that a reconnected tracker has to list all peers again: their clients reconnect to it
/// within some 10 s.
const EXPIRE_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of join requests that are kept as reported; beyond it all are forgotten, and may
/// be reported once more.
const JOINS_MAX: usize = 4096;

/// The join requests (with the user who asks) and the answers to the user's own requests (without)
/// that were reported in this session. Every tracker sends them.
#[derive(Debug, Default)]
pub(super) struct Joins(HashMap<(GroupId, Option<UserId>), Stamp>);

impl Joins {
    /// Notes the time of a request; tells whether it is later than the one before.
    fn is_news_of(&mut self, group: GroupId, user: Option<UserId>, at: Stamp) -> bool {
        if self.0.len() >= JOINS_MAX {
            self.0.clear();
        }
        self.0.insert((group, user), at).is_none_or(|before| before < at)
    }
}

impl Session {
    /// Handles notifications that write nothing, and ends the links of the others. Returns the
    /// notification if it must be planned.
    pub(super) fn news_at_once(&mut self, news: News, now: Now) -> Option<News> {
        match news {
            News::Peers { tracker, peers } => self.take_peers(tracker, &peers),
            News::Joined { tracker } => {
                self.back.insert(tracker, now.up + EXPIRE_AFTER);
                self.book.lost(tracker);
                // The tracker has sent its time: the machine may have slept.
                self.end_expired(now);
                self.share_pending();
                self.tickets.look_now(now.up);
            }
            News::Lost { tracker } => {
                self.back.remove(&tracker);
                self.book.lost(tracker);
            }
            News::Withdrawn { group, info_hash, device } => {
                let part = (info_hash, device, group);
                // Noted first, so that a link which is being made sees it.
                self.withdrawn.note(part, now.up);
                self.end_links(Ends::Parts(HashSet::from([part])));
            }
            News::Void { group, user, until_ms } => {
                let is_ours = self.tickets.void(group, user, until_ms, now.up);
                self.end_links(Ends::Void(HashMap::from([((group, user), until_ms)])));
                if is_ours {
                    self.tickets.look_now(now.up);
                }
            }
            News::DeviceVoid { user, device, until_ms } => {
                self.tickets.void_device(user, device, until_ms, now.up);
                self.end_links(Ends::Device(user, device, until_ms));
            }
            News::JoinRequested { group, label, user, since } => {
                if self.known.joins.is_news_of(group, Some(user.user), since) {
                    self.tell(ClientEvent::JoinRequested {
                        group: label,
                        group_id: group,
                        user: user.label,
                        user_id: user.user,
                        since,
                    });
                }
            }
            News::MemberJoined { group, label, user, inviter, since } => {
                if self.known.joins.is_news_of(group, Some(user.user), since) {
                    self.tell(ClientEvent::MemberJoined {
                        group: label,
                        group_id: group,
                        user: user.label,
                        user_id: user.user,
                        inviter,
                    });
                }
            }
            News::JoinRejected { group, label, at } => {
                if self.known.joins.is_news_of(group, None, at) {
                    self.tell(ClientEvent::JoinRejected { group: label, group_id: group });
                }
            }
            News::BadDataReported { group, info_hash, members } => {
                self.bad_data_reported((group, info_hash), members, now);
            }
            News::UnreachableReported { address, members } => {
                if self.reports.note_unreachable(address, members, now.up) {
                    self.tell(ClientEvent::Unreachable { address, members });
                }
            }
            News::GroupChanged { group, files, members } => {
                self.tell(ClientEvent::GroupChanged { group_id: group, files, members });
            }
            News::Removed(group) => {
                self.tickets.drop_group(group);
                self.end_links(Ends::Group(group));
                self.revoked.insert(group);
                return Some(news);
            }
            News::ClocksDiffer(ClocksDiffer { trackers, difference }) => {
                self.tell(ClientEvent::ClocksDiffer { trackers, difference });
            }
            News::Trusted(FirstMet { network, unwritten }) => {
                self.tell(ClientEvent::TrustedNetwork { network, before: None, unwritten });
            }
            News::ShareStopped(group, info_hash) => {
                if self.library.share(group, info_hash).is_some_and(|share| share.offered) {
                    self.end_links(Ends::Swarms(HashSet::from([(group, info_hash)])));
                }
                return Some(news);
            }
            News::FileRemoved(RemovedFile { group, file, info_hash, .. }) => {
                let is_it = |facts: &FileFacts| facts.id() == file;
                let share = self.library.share(group, info_hash);
                let download = self.library.download(info_hash);
                if share.is_some_and(|share| is_it(&share.row.facts))
                    || download.is_some_and(|d| d.row.group == group && is_it(&d.row.facts))
                {
                    self.end_links(Ends::Swarms(HashSet::from([(group, info_hash)])));
                }
                return Some(news);
            }
            News::Admitted(_) => return Some(news),
            // The driver handles these: they need its state.
            News::Trackers(_)
            | News::SessionOver(_)
            | News::KeyChanged(_)
            | News::PunchOffered(_) => {}
        }
        None
    }

    /// Ends links now, also while a turn waits for the store.
    fn end_links(&mut self, ends: Ends) {
        // Each such order scans every link: adjacent orders are merged.
        match (self.out.back_mut(), ends) {
            (Some(Effect::Engine(Order::EndLinks(Ends::Parts(parts)))), Ends::Parts(more)) => {
                parts.extend(more);
            }
            (Some(Effect::Engine(Order::EndLinks(Ends::Void(voids)))), Ends::Void(more)) => {
                for (whose, until_ms) in more {
                    let until = voids.entry(whose).or_insert(until_ms);
                    *until = until_ms.max(*until);
                }
            }
            (Some(Effect::Engine(Order::EndLinks(Ends::Swarms(swarms)))), Ends::Swarms(more)) => {
                swarms.extend(more)
            }
            (_, ends) => self.out.push_back(Effect::Engine(Order::EndLinks(ends))),
        }
    }

    fn tell(&mut self, event: ClientEvent) {
        self.out.push_back(Effect::Tell(event));
    }

    /// Members say that what this device sends of a file is wrong.
    fn bad_data_reported(&mut self, file: (GroupId, InfoHash), members: u32, now: Now) {
        let share = self.library.share(file.0, file.1).filter(|share| share.offered);
        let Some(row) = share.map(|share| share.row.clone()) else { return };
        if self.reports.note_bad_data(file, members, now.up) {
            self.tell(ClientEvent::BadDataReported {
                group: row.group_label.clone(),
                group_id: row.group,
                file: row.label.clone(),
                id: row.facts.info_hash,
                path: row.path.clone(),
                members,
            });
        }
    }

    fn take_peers(&mut self, tracker: usize, peers: &[PeerEntry]) {
        for peer in peers.iter().filter(|peer| peer.state != DownloadState::Stopped) {
            self.withdrawn.lists(&(peer.info_hash, peer.device, peer.group));
        }
        for peer in peers {
            match self.book.apply(tracker, peer) {
                Some(PeerChange::Here(info_hash, device)) => self.peer_here(info_hash, device),
                Some(PeerChange::Gone(info_hash, device)) => self.peer_gone(info_hash, device),
                None => {}
            }
        }
    }

    /// Devices announce themselves on this machine's networks.
    pub(super) fn take_found(&mut self, found: Found) {
        if self.library.user().is_none() {
            return;
        }
        for (info_hash, device) in self.book.set_found(found) {
            self.peer_here(info_hash, device);
        }
    }

    fn peer_here(&mut self, info_hash: InfoHash, device: crate::types::DeviceId) {
        if self.library.is_downloading(info_hash) {
            let candidates = self.book.candidates(info_hash, device);
            let order = Order::AddPeers(info_hash, vec![(device, candidates)]);
            self.out.push_back(Effect::Engine(order));
        }
    }

    fn peer_gone(&mut self, info_hash: InfoHash, device: crate::types::DeviceId) {
        self.out.push_back(Effect::Engine(Order::RemovePeer(info_hash, device)));
    }

    /// Removes the peers that a tracker listed before its connection ended and has not listed
    /// again.
    pub(super) fn expire_peers(&mut self, tracker: usize) {
        for change in self.book.expire(tracker) {
            if let PeerChange::Gone(info_hash, device) = change {
                self.peer_gone(info_hash, device);
            }
        }
    }

    /// The network's valid keys have changed. Links and tickets that rest on another key end.
    pub(super) fn keys_changed(&mut self, change: KeyChange, keys: &[NetworkPublicKey], now: Now) {
        let KeyChange { stage, old, new } = change;
        self.tickets.keep_signed_by(keys);
        self.end_links(Ends::OtherKeys(keys.iter().map(|key| (*key).into()).collect()));
        self.tickets.look_now(now.up);
        self.tell(ClientEvent::NetworkKey { stage, old, new });
    }

    /// The user was accepted into a group. Every tracker reports it.
    pub(super) fn admitted(&mut self, entry: &GroupEntry) {
        if self.known.groups.insert(entry.group, true) != Some(true) {
            let (group, group_id) = (entry.label.clone(), entry.group);
            self.emit(Effect::Tell(ClientEvent::Admitted { group, group_id }));
        }
    }

    /// The user is no longer in a group: its shares are no longer offered, and its downloads stop.
    /// Every tracker reports it; subscribers hear it once, and not if the user left by choice.
    pub(super) fn end_membership(&mut self, group: GroupId, is_told: bool, now: Now) {
        if self.library.user().is_none() {
            return;
        }
        self.tickets.drop_group(group);
        self.emit(Effect::Engine(Order::EndLinks(Ends::Group(group))));
        let label = self.library.group_label(group);
        let shares: Vec<(InfoHash, bool)> = self
            .library
            .shares_in(group)
            .filter(|share| share.offered || share.row.state != ShareState::Stopped)
            .map(|share| (share.row.facts.info_hash, share.offered))
            .collect();
        for (info_hash, _) in &shares {
            self.library.set_offered(group, *info_hash, false);
            self.library.change_share((group, *info_hash), |row| row.state = ShareState::Stopped);
        }
        let downloads: Vec<InfoHash> = self
            .library
            .downloads()
            .filter(|download| {
                let is_over = matches!(
                    download.row.progress,
                    Progress::Complete | Progress::Failed(_) | Progress::Cancelled
                );
                download.row.group == group && !is_over
            })
            .map(|download| download.info_hash())
            .collect();
        for info_hash in &downloads {
            self.halt(*info_hash, Progress::Failed(NO_MEMBER.into()), now);
        }
        let offered = shares.into_iter().filter(|(_, offered)| *offered);
        self.withdraw(group, downloads.into_iter().chain(offered.map(|(of, _)| of)), now);
        self.leave_source(group, now);
        let is_news =
            self.known.groups.insert(group, false) != Some(false) && !self.known.leaves_all;
        if is_told && is_news {
            self.emit(Effect::TellRemoved(group, label));
        }
    }

    /// The user is about to leave a group, or every one, by choice. Another tracker may report the
    /// removal first, as if another member had caused it; subscribers do not hear of that.
    pub(super) fn expect_leaving(&mut self, group: Option<GroupId>) {
        match group {
            Some(group) => _ = self.known.groups.insert(group, false),
            None => self.known.leaves_all = true,
        }
    }

    /// Undoes [`Session::expect_leaving`].
    pub(super) fn unexpect_leaving(&mut self, group: Option<GroupId>) {
        match group {
            Some(group) => _ = self.known.groups.remove(&group),
            None => self.known.leaves_all = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_several_trackers_is_news_once() {
        let (mut joins, group) = (Joins::default(), GroupId::from_bytes([1; 16]));
        let mut news = |ms| joins.is_news_of(group, None, Stamp::new(ms, 0));
        assert_eq!([5, 5, 4, 6].map(&mut news), [true, false, false, true]);
    }
}
