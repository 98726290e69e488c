//! What members say of each other's devices: that one sends bad data of a file, or cannot be
//! connected to. The device concerned is told how many members say so.
//!
//! **Invariant:** a report counts only if both devices take part in the swarm that it names, once
//! for each user, and never for a user's own devices. A lone member can lie: so a device is told
//! numbers, and that it is unreachable only by [`UNREACHABLE_MEMBERS_MIN`].
//!
//! Kept for a while and in memory only. Bounded: [`SUBJECTS_MAX`] and [`REPORTERS_MAX`]; a user may
//! report as often as [`RATE`] says.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Presence, SessionKey, SwarmKey};
use crate::directory::{Directory, Rows};
use crate::tracker::pace::{Paces, Rate};
use crate::types::{DeviceId, Refusal, UserId};
use crate::wire::tracker::{Event, Reply};

/// Things that are reported at a time: with their reporters some 10 MiB. The oldest give way.
const SUBJECTS_MAX: usize = 16_384;
/// Members that are counted for one of them.
const REPORTERS_MAX: usize = 16;
/// How long a report counts: clients repeat theirs every few minutes while they fail.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How often a device is told the same number again, while reports come.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Members that fail to connect before a device is told: one may have a bad network itself.
const UNREACHABLE_MEMBERS_MIN: usize = 2;
/// Reports of one user: of all peers of a large swarm at once, then one a second.
const RATE: Rate = Rate::per_second(256, 1);
/// Users whose rate is remembered.
const RATES_MAX: usize = 16_384;

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What it sends of a file is not the file.
    BadData,
    /// It cannot be connected to.
    Unreachable,
}

/// What reports are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    BadData(UserId, DeviceId, SwarmKey),
    Unreachable(UserId, DeviceId, SocketAddr),
}

/// Who reports one thing, and what was told of it last.
#[derive(Debug, Default)]
struct Reporters {
    users: Vec<(UserId, Duration)>,
    told: Option<(u32, Duration)>,
}

/// All reports of this tracker.
#[derive(Debug)]
pub(super) struct Reports {
    started: Instant,
    rates: Paces<UserId>,
    subjects: HashMap<Subject, Reporters>,
    /// In the order in which they were first reported.
    order: VecDeque<Subject>,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            rates: Paces::new(RATES_MAX),
            subjects: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl Reports {
    /// Takes a report; returns the number of members that its subject is to be told.
    fn note(&mut self, now: Duration, subject: Subject, reporter: UserId) -> Option<u32> {
        if !self.subjects.contains_key(&subject) {
            if self.subjects.len() >= SUBJECTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.subjects.remove(&oldest);
            }
            self.order.push_back(subject);
        }
        let reporters = self.subjects.entry(subject).or_default();
        reporters.users.retain(|(user, at)| *user != reporter && now.saturating_sub(*at) < KEPT);
        if reporters.users.len() < REPORTERS_MAX {
            reporters.users.push((reporter, now));
        }
        let least = match subject {
            Subject::BadData(..) => 1,
            Subject::Unreachable(..) => UNREACHABLE_MEMBERS_MIN,
        };
        let count = reporters.users.len() as u32;
        let is_news = reporters
            .told
            .is_none_or(|(told, at)| count > told || now.saturating_sub(at) >= TOLD_AGAIN);
        let is_told = reporters.users.len() >= least && is_news;
        if is_told {
            reporters.told = Some((count, now));
        }
        is_told.then_some(count)
    }
}

impl Presence {
    /// A session's user says what is wrong with a device in a file's swarm. The answer is the same
    /// whether or not that counts.
    pub(crate) fn report(
        &mut self,
        key: SessionKey,
        user: UserId,
        (fault, swarm, device): (Fault, SwarmKey, DeviceId),
        directory: &Directory<impl Rows>,
    ) -> Reply {
        if self.password_of(key, user, directory).is_none() {
            return Reply::Refused(Refusal::LoginFirst);
        }
        let now = self.reports.started.elapsed();
        if !self.reports.rates.wait(now, user, RATE).is_zero() {
            return Reply::Refused(Refusal::Busy);
        }
        self.reports.rates.take(now, user, RATE);
        let is_there = |key: &SessionKey| {
            self.swarms.get(&swarm).is_some_and(|sessions| sessions.contains_key(key))
        };
        let concerned = self.devices.get(&device).into_iter().flatten().find(|key| is_there(key));
        let Some((concerned, visitor)) = concerned
            .and_then(|key| Some((*key, &self.sessions.get(key)?.visitor)))
            .filter(|(_, visitor)| visitor.user != user && is_there(&key))
        else {
            return Reply::Pong;
        };
        let address = visitor.address;
        let subject = match fault {
            Fault::BadData => Subject::BadData(visitor.user, device, swarm),
            Fault::Unreachable => Subject::Unreachable(visitor.user, device, address),
        };
        if let Some(members) = self.reports.note(now, subject, user) {
            let (info_hash, group) = swarm;
            let event = match fault {
                Fault::BadData => Event::BadDataReported { group, info_hash, members },
                Fault::Unreachable => Event::UnreachableReported { address, members },
            };
            self.push(&[concerned], event);
        }
        Reply::Pong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, InfoHash};

    const DEVICE: DeviceId = DeviceId::from_bytes([7; 32]);

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn bad(file: u32) -> Subject {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&file.to_be_bytes());
        let swarm = (InfoHash::from_bytes(hash), GroupId::from_bytes([1; 16]));
        Subject::BadData(user(1), DEVICE, swarm)
    }

    #[test]
    fn members_are_counted_once_and_for_a_while() {
        let (mut reports, at) = (Reports::default(), Duration::from_secs);
        let unreachable = Subject::Unreachable(user(1), DEVICE, "127.0.0.1:9".parse().unwrap());
        let mut note = |second, subject, who| reports.note(at(second), subject, user(who));
        assert_eq!([2, 2, 3].map(|who| note(1, bad(1), who)), [Some(1), None, Some(2)]);
        assert_eq!(note(62, bad(1), 3), Some(2), "told again after a minute");
        assert_eq!([2, 2, 3].map(|who| note(1, unreachable, who)), [None, None, Some(2)]);
        assert_eq!(note(3_000, unreachable, 4), None, "those of before count no more");
        assert_eq!(note(3_000, bad(1), 4), Some(1));
    }

    #[test]
    fn reports_are_bounded() {
        let mut reports = Reports::default();
        for file in 0..SUBJECTS_MAX as u32 + 10 {
            reports.note(Duration::ZERO, bad(file), user(2));
        }
        assert_eq!((reports.subjects.len(), reports.order.len()), (SUBJECTS_MAX, SUBJECTS_MAX));
        for who in 0..100 {
            reports.note(Duration::ZERO, bad(50), user(who));
        }
        assert_eq!(reports.subjects[&bad(50)].users.len(), REPORTERS_MAX);
    }
}
