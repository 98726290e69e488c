//! Looks at the files of shares, again and again: whether those that are offered are still there and
//! unchanged, and whether those that were not are back.
//!
//! **Invariant:** a share whose file was gone, changed or unreadable when it was looked at last is
//! not offered, and is kept with the reason until its file is as shared again. A file system that
//! does not answer is not asked again before it has answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Session;
use super::input::{Effect, Job, Looked, Now, Order};
use super::library::Share;
use crate::store::{ShareRow, ShareState};
use crate::types::{GroupId, InfoHash};

/// How often offered files are looked at: a deleted one is not offered for long.
const OFFERED_EVERY: Duration = Duration::from_secs(180);
/// How often files that are away are looked for.
const AWAY_EVERY: Duration = Duration::from_secs(30);
/// The shortest time between two looks, however often commands ask for one.
const PAUSE: Duration = Duration::from_secs(2);

/// A share: its group and its content.
type Key = (GroupId, InfoHash);

/// When files of shares are looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    under_way: HashSet<Key>,
    /// When the last look began, and the last look at offered files.
    last: Duration,
    last_offered: Duration,
}

impl Looks {
    /// Notes that files are being looked at.
    pub(super) fn begin<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a Arc<ShareRow>>,
        now: Now,
    ) {
        (self.last, self.last_offered) = (now.up, now.up);
        self.under_way.extend(rows.into_iter().map(|row| (row.group, row.facts.info_hash)));
    }
}

impl Session {
    /// When files are to be looked at next.
    pub(super) fn looks_at(&self) -> Option<Duration> {
        let is_busy = self.library.user().is_none() || self.entering.is_some();
        if is_busy || self.library.shares.is_empty() {
            return None;
        }
        let away = (!self.library.away.is_empty()).then(|| self.looks.last + AWAY_EVERY);
        Some(away.into_iter().fold(self.looks.last_offered + OFFERED_EVERY, Duration::min))
    }

    pub(super) fn look_if_due(&mut self, now: Now) {
        if self.looks_at().is_some_and(|at| at <= now.up) {
            self.look_at_shares(self.looks.last_offered + OFFERED_EVERY <= now.up, now);
        }
    }

    /// A command would like to know.
    pub(super) fn look_soon(&mut self, now: Now) {
        let is_time = self.looks.last + PAUSE <= now.up;
        if is_time && self.looks_at().is_some() {
            self.look_at_shares(true, now);
        }
    }

    fn look_at_shares(&mut self, with_offered: bool, now: Now) {
        let is_wanted = |key: &Key, share: &Share| {
            share.row.state != ShareState::Stopped && !self.looks.under_way.contains(key)
        };
        let share = |key: &Key| Some((*key, self.library.shares.get(key)?));
        let away = self.library.away.keys().filter_map(share);
        let offered = self.library.shares.iter().map(|(key, share)| (*key, share));
        let offered = offered.filter(|(_, share)| with_offered && share.offered);
        let rows: Vec<Arc<ShareRow>> = away
            .chain(offered)
            .filter(|(key, share)| is_wanted(key, share))
            .map(|(_, share)| share.row.clone())
            .collect();
        self.looks.last = now.up;
        if with_offered {
            self.looks.last_offered = now.up;
        }
        if !rows.is_empty() {
            let keys = rows.iter().map(|row| (row.group, row.facts.info_hash));
            self.looks.under_way.extend(keys);
            self.emit(Effect::Job(Job::LookAtShares(rows)));
        }
    }

    /// The file of a share was looked at; returns the share if it is offered from now on.
    pub(super) fn share_looked_at(
        &mut self,
        row: &Arc<ShareRow>,
        looked: Looked,
        now: Now,
    ) -> Option<Key> {
        let key = (row.group, row.facts.info_hash);
        self.looks.under_way.remove(&key);
        // It may have been shared again meanwhile, or stopped.
        let is_it = |share: &&Share| {
            share.row.state != ShareState::Stopped
                && share.row.path == row.path
                && share.row.stamp == row.stamp
        };
        let was_offered = self.library.share(key.0, key.1).filter(is_it)?.offered;
        match looked {
            Looked::Same(seen) => {
                let (path, stamp) = *seen;
                let is_elsewhere = (&path, stamp) != (&row.path, row.stamp);
                if is_elsewhere {
                    self.library.change_share(key, |row| (row.path, row.stamp) = (path, stamp));
                }
                let is_back = self.library.away.contains_key(&key);
                if is_elsewhere || is_back {
                    self.emit(Effect::Engine(Order::Reseed(key.1)));
                }
                if was_offered {
                    return None;
                }
                if is_back {
                    log::info!("{} is there again: it is offered", row.path.display());
                }
                self.library.set_offered(key.0, key.1, true);
                if row.state == ShareState::Pending {
                    self.sharing.due.insert(key);
                }
                Some(key)
            }
            Looked::Other(reason) => {
                self.share_is_away(row, reason, now);
                None
            }
        }
    }

    /// A share's file is not as shared: the share is not offered until it is.
    pub(super) fn share_is_away(&mut self, row: &Arc<ShareRow>, reason: String, now: Now) {
        let key = (row.group, row.facts.info_hash);
        let is_news = !self.library.away.contains_key(&key);
        let was_offered = self.library.set_offered(key.0, key.1, false);
        self.library.away.insert(key, reason.as_str().into());
        if was_offered {
            if !self.library.is_offered_anywhere(key.1) {
                self.emit(Effect::Engine(Order::Unseed(key.1)));
            }
            self.announce([key], now);
        }
        if was_offered || is_news {
            self.tell_not_offered(row, reason);
        }
    }
}
