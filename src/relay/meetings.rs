//! Which devices are introduced, which of them have come, and how many bytes their users have moved.
//!
//! **Invariant:** a secret counts once. Every meeting is counted for its users and its pair of
//! devices until it has ended.
//!
//! Plain state, under the relay's lock; `C` is a connection. Bounded by [`RelayBounds`] and
//! [`USERS_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::bounds::{
    DAY, MEET_WITHIN, RelayBounds, RelayRefusal, RelayStats, USERS_MAX, WAITING_PER_DEVICE_MAX,
};
use crate::types::{DeviceId, RelayMeeting, RelaySecret, UserId};

/// Number of a meeting.
pub(super) type MeetingKey = u64;

#[derive(Debug)]
enum Stage<C> {
    /// One end may have come.
    Waiting { until: Duration, come: [Option<C>; 2] },
    /// Both have, and the pump has them.
    Running,
    /// It was ended from outside; the pump has not heard of it.
    Over,
}

#[derive(Debug)]
struct Entry<C> {
    meeting: RelayMeeting,
    stage: Stage<C>,
}

/// All meetings of a relay.
#[derive(Debug)]
pub(super) struct Meetings<C> {
    bounds: RelayBounds,
    entries: BTreeMap<MeetingKey, Entry<C>>,
    /// Which end of which meeting shows it. Removed when shown.
    secrets: HashMap<RelaySecret, (MeetingKey, usize)>,
    next_key: MeetingKey,
    /// Bytes of each user since the day began.
    spent: HashMap<UserId, u64>,
    spent_in_all: u64,
    day_began: Duration,
    stats: RelayStats,
}

/// What came of a secret that was shown.
#[derive(Debug)]
pub(super) enum Shown<C> {
    /// No end of any meeting has it.
    Unknown,
    /// The other end has not come yet.
    First,
    /// Both ends are here: the first's, then the second's.
    Both(MeetingKey, RelayMeeting, [C; 2]),
}

fn devices(meeting: &RelayMeeting) -> [DeviceId; 2] {
    let mut devices = [meeting.first.device, meeting.second.device];
    devices.sort();
    devices
}

impl<C> Meetings<C> {
    pub(super) fn new(bounds: RelayBounds) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            secrets: HashMap::new(),
            next_key: 1,
            spent: HashMap::new(),
            spent_in_all: 0,
            day_began: Duration::ZERO,
            stats: RelayStats::default(),
        }
    }

    /// Takes an introduction.
    ///
    /// # Errors
    /// Which bound is in the way.
    pub(super) fn introduce(
        &mut self,
        now: Duration,
        meeting: RelayMeeting,
    ) -> Result<(), RelayRefusal> {
        self.begin_day(now);
        let may = self.check(&meeting);
        self.stats.refused_total += u64::from(may.is_err());
        may?;
        let key = self.next_key;
        self.next_key += 1;
        for (end, party) in meeting.parties().into_iter().enumerate() {
            self.secrets.insert(party.secret.clone(), (key, end));
        }
        let stage = Stage::Waiting { until: now + MEET_WITHIN, come: [None, None] };
        self.entries.insert(key, Entry { meeting, stage });
        Ok(())
    }

    fn check(&self, meeting: &RelayMeeting) -> Result<(), RelayRefusal> {
        let count = |counts: &dyn Fn(&Entry<C>) -> bool| {
            self.entries.values().filter(|entry| counts(entry)).count()
        };
        if self.entries.len() >= self.bounds.sessions {
            return Err(RelayRefusal::Full);
        }
        let pair = devices(meeting);
        if count(&|entry| devices(&entry.meeting) == pair) >= self.bounds.sessions_per_pair {
            return Err(RelayRefusal::DeviceFull);
        }
        if self.bounds.day.is_some_and(|day| self.spent_in_all >= day) {
            return Err(RelayRefusal::Spent);
        }
        for party in meeting.parties() {
            let has_user = |entry: &Entry<C>| {
                entry.meeting.parties().into_iter().any(|other| other.user == party.user)
            };
            let is_waiting = |entry: &Entry<C>| {
                let waits = matches!(entry.stage, Stage::Waiting { .. });
                waits && devices(&entry.meeting).contains(&party.device)
            };
            if count(&has_user) >= self.bounds.sessions_per_user {
                return Err(RelayRefusal::UserFull);
            }
            if count(&is_waiting) >= WAITING_PER_DEVICE_MAX {
                return Err(RelayRefusal::DeviceFull);
            }
            if self.is_spent(party.user) {
                return Err(RelayRefusal::Spent);
            }
        }
        Ok(())
    }

    fn is_spent(&self, user: UserId) -> bool {
        let Some(day) = self.bounds.user_day else { return false };
        match self.spent.get(&user) {
            Some(spent) => *spent >= day,
            None => self.spent.len() >= USERS_MAX,
        }
    }

    fn begin_day(&mut self, now: Duration) {
        if now.saturating_sub(self.day_began) >= DAY {
            (self.day_began, self.spent_in_all) = (now, 0);
            self.spent.clear();
        }
    }

    /// Takes a connection that shows a secret. It is given back if nobody knows the secret.
    pub(super) fn show(&mut self, secret: &RelaySecret, connection: C) -> (Shown<C>, Option<C>) {
        let Some((key, end)) = self.secrets.remove(secret) else {
            self.stats.strangers_total += 1;
            return (Shown::Unknown, Some(connection));
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return (Shown::Unknown, Some(connection));
        };
        let Stage::Waiting { come, .. } = &mut entry.stage else {
            return (Shown::Unknown, Some(connection));
        };
        come[end] = Some(connection);
        match come {
            [first @ Some(_), second @ Some(_)] => {
                let both = first.take().zip(second.take());
                entry.stage = Stage::Running;
                self.stats.sessions_total += 1;
                let meeting = entry.meeting.clone();
                match both {
                    Some((first, second)) => (Shown::Both(key, meeting, [first, second]), None),
                    None => (Shown::First, None),
                }
            }
            _ => (Shown::First, None),
        }
    }

    /// Ends the meetings to which an end did not come in time; returns when to look next.
    pub(super) fn expire(&mut self, now: Duration) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let mut late = Vec::new();
        for (key, entry) in &self.entries {
            if let Stage::Waiting { until, .. } = entry.stage {
                match until <= now {
                    true => late.push(*key),
                    false => next = Some(next.map_or(until, |next| next.min(until))),
                }
            }
        }
        late.into_iter().for_each(|key| self.end(key));
        next
    }

    /// Ends the meetings for which `is_over` is true; those that run end when the pump has taken
    /// them by [`Meetings::take_over`]. Tells whether there are such.
    pub(super) fn end_if(&mut self, is_over: impl Fn(&RelayMeeting) -> bool) -> bool {
        let over: Vec<MeetingKey> = {
            let ended = self.entries.iter().filter(|(_, entry)| is_over(&entry.meeting));
            ended.map(|(key, _)| *key).collect()
        };
        let mut is_running = false;
        for key in over {
            match self.entries.get_mut(&key).map(|entry| &mut entry.stage) {
                Some(stage @ Stage::Running) => {
                    *stage = Stage::Over;
                    is_running = true;
                }
                Some(Stage::Waiting { .. }) => self.end(key),
                _ => {}
            }
        }
        is_running
    }

    /// Running meetings that were ended from outside.
    pub(super) fn take_over(&self) -> Vec<MeetingKey> {
        let is_over = |(_, entry): &(&MeetingKey, &Entry<C>)| matches!(entry.stage, Stage::Over);
        self.entries.iter().filter(is_over).map(|(key, _)| *key).collect()
    }

    /// Forgets a meeting.
    pub(super) fn end(&mut self, key: MeetingKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        for party in entry.meeting.parties() {
            self.secrets.remove(&party.secret);
        }
    }

    /// Notes bytes that a meeting's users have moved; tells whether they may go on.
    pub(super) fn moved(&mut self, now: Duration, key: MeetingKey, bytes: u64) -> bool {
        self.begin_day(now);
        self.stats.bytes_total += bytes;
        self.spent_in_all += bytes;
        let Some(entry) = self.entries.get(&key) else { return false };
        let [first, second] = entry.meeting.parties().map(|party| party.user);
        for user in [Some(first), Some(second).filter(|user| *user != first)].into_iter().flatten()
        {
            if self.spent.len() < USERS_MAX || self.spent.contains_key(&user) {
                *self.spent.entry(user).or_default() += bytes;
            }
        }
        let is_spent = self.bounds.day.is_some_and(|day| self.spent_in_all >= day);
        !is_spent && !self.is_spent(first) && !self.is_spent(second)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &RelayMeeting> {
        self.entries.values().map(|entry| &entry.meeting)
    }

    pub(super) fn stats(&self) -> RelayStats {
        let waits = |entry: &&Entry<C>| matches!(entry.stage, Stage::Waiting { .. });
        let waiting = self.entries.values().filter(waits).count();
        RelayStats { sessions: self.entries.len() - waiting, waiting, ..self.stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, RelayParty};

    fn meeting(number: u8, first: u8, second: u8) -> RelayMeeting {
        let party = |user: u8, end: u8| RelayParty {
            user: UserId::from_bytes([user; 16]),
            device: DeviceId::from_bytes([user; 32]),
            secret: RelaySecret::from_bytes([number ^ end; 32]),
        };
        RelayMeeting {
            group: GroupId::from_bytes([1; 16]),
            first: party(first, 0),
            second: party(second, 0x80),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn both_ends_meet_and_a_secret_counts_once() {
        let mut meetings = Meetings::new(RelayBounds::default());
        let told = meeting(1, 1, 2);
        meetings.introduce(at(1), told.clone()).unwrap();
        let stranger = RelaySecret::from_bytes([9; 32]);
        assert!(matches!(meetings.show(&stranger, "x"), (Shown::Unknown, Some("x"))));
        assert!(matches!(meetings.show(&told.second.secret, "b"), (Shown::First, None)));
        assert!(matches!(meetings.show(&told.second.secret, "c"), (Shown::Unknown, Some("c"))));
        let (shown, back) = meetings.show(&told.first.secret, "a");
        assert!(matches!(shown, Shown::Both(_, of, ["a", "b"]) if of == told) && back.is_none());
        assert!(matches!(meetings.show(&told.first.secret, "d"), (Shown::Unknown, Some("d"))));
        let stats = meetings.stats();
        assert_eq!((stats.sessions, stats.waiting, stats.sessions_total), (1, 0, 1));
        assert_eq!(stats.strangers_total, 3);
        meetings.end(1);
        assert_eq!(meetings.stats().sessions, 0);
        assert!(meetings.secrets.is_empty());
    }

    #[test]
    fn who_comes_too_late_finds_nobody() {
        let mut meetings = Meetings::new(RelayBounds::default());
        let told = meeting(1, 1, 2);
        meetings.introduce(at(1), told.clone()).unwrap();
        assert_eq!(meetings.expire(at(2)), Some(at(1) + MEET_WITHIN));
        meetings.show(&told.first.secret, ());
        assert_eq!(meetings.expire(at(1) + MEET_WITHIN), None);
        assert!(matches!(meetings.show(&told.second.secret, ()), (Shown::Unknown, Some(()))));
    }

    #[test]
    fn every_count_is_bounded() {
        let bounds = RelayBounds {
            sessions: 5,
            sessions_per_user: 3,
            sessions_per_pair: 2,
            ..RelayBounds::default()
        };
        let mut meetings = Meetings::<()>::new(bounds);
        let mut take =
            |number, first, second| meetings.introduce(at(1), meeting(number, first, second));
        assert_eq!((take(1, 1, 2), take(2, 2, 1)), (Ok(()), Ok(())));
        assert_eq!(take(3, 1, 2), Err(RelayRefusal::DeviceFull));
        assert_eq!(take(3, 1, 3), Ok(()));
        assert_eq!(take(4, 4, 1), Err(RelayRefusal::UserFull));
        assert_eq!((take(4, 4, 5), take(5, 6, 7)), (Ok(()), Ok(())));
        assert_eq!(take(6, 8, 9), Err(RelayRefusal::Full));
        assert_eq!(meetings.stats().refused_total, 3);
        let bounds = RelayBounds { sessions_per_user: 99, ..RelayBounds::default() };
        let mut meetings = Meetings::<()>::new(bounds);
        let taken = (0..60).filter(|n| meetings.introduce(at(1), meeting(*n, 1, 9 + n)).is_ok());
        assert_eq!(taken.count(), WAITING_PER_DEVICE_MAX);
    }

    #[test]
    fn the_bytes_of_a_day_end_with_it() {
        let bounds = RelayBounds { user_day: Some(100), day: Some(250), ..RelayBounds::default() };
        let mut meetings = Meetings::<()>::new(bounds);
        meetings.introduce(at(1), meeting(1, 1, 2)).unwrap();
        assert!(meetings.moved(at(2), 1, 99));
        assert!(!meetings.moved(at(2), 1, 1));
        assert_eq!(meetings.introduce(at(3), meeting(2, 2, 3)), Err(RelayRefusal::Spent));
        meetings.introduce(at(3), meeting(2, 3, 4)).unwrap();
        assert!(!meetings.moved(at(3), 2, 150));
        assert_eq!(meetings.introduce(at(3), meeting(3, 5, 6)), Err(RelayRefusal::Spent));
        meetings.introduce(at(3) + DAY, meeting(3, 2, 3)).unwrap();
        assert!(meetings.moved(at(3) + DAY, 3, 50));
    }

    #[test]
    fn meetings_are_ended_from_outside() {
        let mut meetings = Meetings::new(RelayBounds::default());
        let [waiting, running] = [meeting(1, 1, 2), meeting(2, 1, 3)];
        for told in [&waiting, &running] {
            meetings.introduce(at(1), told.clone()).unwrap();
        }
        meetings.show(&running.first.secret, ());
        meetings.show(&running.second.secret, ());
        assert!(!meetings.end_if(|told| told.second.user == waiting.second.user));
        assert_eq!(meetings.all().count(), 1);
        assert!(meetings.end_if(|told| told.first.user == running.first.user));
        assert_eq!(meetings.take_over(), [2]);
        meetings.end(2);
        assert!(meetings.take_over().is_empty());
    }
}
