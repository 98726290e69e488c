//! The choker: which peers we serve. Their number is bounded, so that each gets enough to be of use
//! to the others.
//!
//! **Invariant:** at most `slots` peers are unchoked. While an interested peer is choked, every
//! slot is held by another interested one, and at every interval the peer that has waited longest
//! gets a slot: so that no user starves. While a user who has no slot waits for one, no user has
//! two: several devices of one user count as one as soon as others want slots.
//!
//! A free slot is given at once, not at the next interval: the first seconds of a swarm are not
//! spent waiting. A peer that is not interested keeps its slot while no other peer wants it, since
//! it will often be again a moment later; one that got a slot and asks for nothing loses it after a
//! second to one that waits.
//!
//! A seeder with hundreds of leechers passes a slot on as soon as its peer has had a piece or two:
//! at a slot for each interval the last of two hundred would wait for minutes for its first byte.
//! With few waiting it does not: a turn costs a round trip.
//!
//! Pure; a tick moves slots, [`Choker::poll`] hands out the messages to send. One for each file.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::swarm::LinkKey;
use crate::swarm::pick::window::SpeedMeter;
use crate::types::UserId;

/// Time over which a peer's speed is averaged.
const RATE_FADE: Duration = Duration::from_secs(10);
/// A waiting peer takes the slot of a slower one if it is this much faster: slots do not flap
/// between equals.
const FASTER: f64 = 1.25;

/// Peers that wait for each slot before slots are passed on early.
const CROWD: usize = 4;
/// How long a peer that has never asked for anything since it got a slot keeps it while others
/// wait.
const SILENT_TIME: Duration = Duration::from_secs(1);
/// Bytes after which a slot is passed on then: two pieces, so that what a turn costs is little
/// beside it.
const TURN_LEN: u64 = 1 << 20;
/// Shortest time that a peer keeps a slot all the same.
const TURN_TIME: Duration = Duration::from_millis(250);

/// One change to tell a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choke {
    /// The link.
    pub(crate) link: LinkKey,
    /// True: stop asking (send choke). False: ask (send unchoke).
    pub(crate) choked: bool,
}

/// Bounds of a choker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChokerOptions {
    /// Peers served at a time, the optimistic one included.
    pub(crate) slots: usize,
    /// How often slots change hands.
    pub(crate) interval: Duration,
}

impl Default for ChokerOptions {
    fn default() -> Self {
        Self { slots: 8, interval: Duration::from_secs(5) }
    }
}

/// Chooses the peers to serve.
#[derive(Debug)]
pub(crate) struct Choker {
    options: ChokerOptions,
    peers: BTreeMap<LinkKey, Peer>,
    seeding: bool,
    /// Nothing can be read to serve anybody.
    held: bool,
    turned: Duration,
    changes: VecDeque<Choke>,
    rng: SmallRng,
}

#[derive(Debug)]
struct Peer {
    user: UserId,
    interested: bool,
    unchoked: bool,
    /// Since when it is served, or waits; breaks ties by `luck`.
    since: Duration,
    luck: u32,
    /// Bytes that went to it since then.
    served: u64,
    /// Whether it has asked for a block since then.
    asked: bool,
    from_peer: SpeedMeter,
    to_peer: SpeedMeter,
}

impl Peer {
    fn waits(&self) -> bool {
        self.interested && !self.unchoked
    }
}

impl Choker {
    /// Makes a choker without links. There is at least one slot.
    pub(crate) fn new(options: ChokerOptions, seed: u64) -> Self {
        Self {
            options: ChokerOptions { slots: options.slots.max(1), ..options },
            peers: BTreeMap::new(),
            seeding: false,
            held: false,
            turned: Duration::ZERO,
            changes: VecDeque::new(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Takes a link to a device of `user` in: choked, not interested.
    pub(crate) fn join(&mut self, now: Duration, link: LinkKey, user: UserId) {
        let luck = self.rng.random();
        let rate = SpeedMeter::new(now, RATE_FADE);
        let (interested, unchoked, asked) = (false, false, false);
        let peer = Peer {
            user,
            interested,
            unchoked,
            since: now,
            luck,
            served: 0,
            asked,
            from_peer: rate,
            to_peer: rate,
        };
        self.peers.entry(link).or_insert(peer);
    }

    /// Drops a link; an unknown one is ignored. Its slot goes to the peer that has waited longest.
    pub(crate) fn leave(&mut self, now: Duration, link: LinkKey) {
        self.peers.remove(&link);
        self.changes.retain(|change| change.link != link);
        self.fill(now);
    }

    pub(crate) fn set_interested(&mut self, now: Duration, link: LinkKey, on: bool) {
        let luck = self.rng.random();
        let Some(peer) = self.peers.get_mut(&link).filter(|peer| peer.interested != on) else {
            return;
        };
        peer.interested = on;
        if peer.waits() {
            (peer.since, peer.luck) = (now, luck);
        }
        self.fill(now);
    }

    pub(crate) fn received(&mut self, now: Duration, link: LinkKey, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.from_peer.add(now, bytes);
        }
    }

    pub(crate) fn sent(&mut self, now: Duration, link: LinkKey, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.to_peer.add(now, bytes);
            peer.served = peer.served.saturating_add(bytes);
        }
    }

    /// The peer asks for a block.
    pub(crate) fn requested(&mut self, link: LinkKey) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.asked = true;
        }
    }

    /// We have every piece: nothing comes back, so peers take turns instead of being ranked by what
    /// they give.
    pub(crate) fn set_seeding(&mut self, on: bool) {
        self.seeding = on;
    }

    /// Serves no peer until it is called again with `false`.
    pub(crate) fn set_held(&mut self, now: Duration, held: bool) {
        self.held = held;
        if held {
            let served: Vec<LinkKey> = self.unchoked().map(|(link, _)| link).collect();
            served.into_iter().for_each(|link| self.set(now, link, false));
        }
        self.fill(now);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Lets slots change hands. Call about once a second, or more often.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.held {
            return;
        }
        self.fill(now);
        if self.seeding {
            self.pass_on(now);
        }
        if now.saturating_sub(self.turned) < self.options.interval {
            return;
        }
        self.turned = now;
        let mut turns = if self.seeding { self.options.slots.div_ceil(2) } else { 1 };
        while turns > 0 && self.turn_over(now) {
            turns -= 1;
        }
        while !self.seeding && self.promote_faster(now) {}
    }

    /// Takes the next change to tell a peer. Drain after every call.
    pub(crate) fn poll(&mut self) -> Option<Choke> {
        self.changes.pop_front()
    }

    pub(crate) fn is_interested(&self, link: LinkKey) -> bool {
        self.peers.get(&link).is_some_and(|peer| peer.interested)
    }

    pub(crate) fn is_unchoked(&self, link: LinkKey) -> bool {
        self.peers.get(&link).is_some_and(|peer| peer.unchoked)
    }

    /// Gives free slots, those of peers that want nothing, and those beyond a user's first that
    /// others want, to whose turn it is.
    fn fill(&mut self, now: Duration) {
        if self.held {
            return;
        }
        while let Some(next) = self.next_in_turn() {
            if self.unchoked().count() >= self.options.slots {
                let idle = self
                    .unchoked()
                    .filter(|(_, peer)| !peer.interested)
                    .min_by_key(|(_, peer)| peer.since);
                let loser = idle
                    .map(|(link, _)| link)
                    .or_else(|| self.crowding(next))
                    .or_else(|| self.silent(now, next));
                let Some(loser) = loser else { return };
                self.set(now, loser, false);
            }
            self.set(now, next, true);
        }
    }

    /// If the user of `next` has no slot: the one given last of a user who has several.
    fn crowding(&self, next: LinkKey) -> Option<LinkKey> {
        if self.slots_of(self.peers.get(&next)?.user) > 0 {
            return None;
        }
        let several = self.unchoked().filter(|(_, peer)| self.slots_of(peer.user) > 1);
        several.max_by_key(|(_, peer)| (peer.since, peer.luck)).map(|(link, _)| link)
    }

    /// The slot of the peer that has had one longest and asks for nothing.
    fn silent(&self, now: Duration, next: LinkKey) -> Option<LinkKey> {
        let silent = |peer: &Peer| !peer.asked && now.saturating_sub(peer.since) >= SILENT_TIME;
        let silent =
            self.unchoked().filter(|(link, peer)| silent(peer) && self.is_fair(next, *link));
        silent.min_by_key(|(_, peer)| (peer.since, peer.luck)).map(|(link, _)| link)
    }

    /// Where very many wait, gives the slots of peers that have had a piece or two to the next.
    fn pass_on(&mut self, now: Duration) {
        if self.peers.values().filter(|peer| peer.waits()).count() <= CROWD * self.options.slots {
            return;
        }
        let had =
            |peer: &Peer| peer.served >= TURN_LEN && now.saturating_sub(peer.since) >= TURN_TIME;
        let losers: Vec<LinkKey> =
            self.unchoked().filter(|(_, peer)| had(peer)).map(|(link, _)| link).collect();
        for loser in losers {
            let Some(next) = self.next_in_turn().filter(|next| self.is_fair(*next, loser)) else {
                continue;
            };
            self.set(now, loser, false);
            self.set(now, next, true);
        }
    }

    /// Gives one slot to whose turn it is: that of the slowest, or while seeding of who had one
    /// longest.
    fn turn_over(&mut self, now: Duration) -> bool {
        let Some(next) = self.next_in_turn() else { return false };
        let old = self
            .unchoked()
            .filter(|(link, peer)| self.may_lose(now, peer) && self.is_fair(next, *link));
        let loser = match self.seeding {
            true => old.min_by_key(|(_, peer)| (peer.since, peer.luck)),
            false => {
                old.min_by(|(_, a), (_, b)| a.from_peer.get(now).total_cmp(&b.from_peer.get(now)))
            }
        };
        let Some(loser) = loser.map(|(link, _)| link) else { return false };
        self.set(now, loser, false);
        self.set(now, next, true);
        true
    }

    /// Gives the slot of the slowest to a waiting peer that gives us clearly more.
    fn promote_faster(&mut self, now: Duration) -> bool {
        let speed = |peer: &Peer| peer.from_peer.get(now);
        let waiting = self.peers.iter().filter(|(_, peer)| peer.waits());
        let fastest =
            waiting.map(|(&link, peer)| (speed(peer), link)).max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((fast, next)) = fastest else { return false };
        let slowest = self
            .unchoked()
            .filter(|(link, peer)| self.may_lose(now, peer) && self.is_fair(next, *link));
        let slowest =
            slowest.map(|(link, peer)| (speed(peer), link)).min_by(|a, b| a.0.total_cmp(&b.0));
        match slowest {
            Some((slow, loser)) if fast > slow * FASTER && fast > 0.0 => {
                self.set(now, loser, false);
                self.set(now, next, true);
                true
            }
            _ => false,
        }
    }

    /// Tells whether `next` may have the slot of `loser`: not if that left one user without any and
    /// gave another a second.
    fn is_fair(&self, next: LinkKey, loser: LinkKey) -> bool {
        let (Some(next), Some(loser)) = (self.peers.get(&next), self.peers.get(&loser)) else {
            return false;
        };
        next.user == loser.user || self.slots_of(next.user) == 0 || self.slots_of(loser.user) > 1
    }

    fn slots_of(&self, user: UserId) -> usize {
        self.unchoked().filter(|(_, peer)| peer.user == user).count()
    }

    /// A peer keeps a slot for an interval at least: sooner, nothing is known of it, unless it has
    /// had its share where very many wait.
    fn may_lose(&self, now: Duration, peer: &Peer) -> bool {
        now.saturating_sub(peer.since) >= self.options.interval
    }

    fn unchoked(&self) -> impl Iterator<Item = (LinkKey, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.unchoked).map(|(&link, peer)| (link, peer))
    }

    /// The peer that has waited longest, first of those whose user has no slot.
    fn next_in_turn(&self) -> Option<LinkKey> {
        let served: Vec<UserId> = self.unchoked().map(|(_, peer)| peer.user).collect();
        let waiting = self.peers.iter().filter(|(_, peer)| peer.waits());
        waiting
            .min_by_key(|(_, peer)| (served.contains(&peer.user), peer.since, peer.luck))
            .map(|(&link, _)| link)
    }

    fn set(&mut self, now: Duration, link: LinkKey, unchoked: bool) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.unchoked = unchoked;
            (peer.since, peer.served, peer.asked) = (now, 0, false);
            self.changes.push_back(Choke { link, choked: !unchoked });
        }
    }

    /// Checks everything that must hold; for tests.
    ///
    /// # Panics
    /// If something does not hold.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check_invariants(&self) {
        let unchoked = self.unchoked().count();
        assert!(unchoked <= self.options.slots, "{unchoked} peers are served");
        if self.held {
            assert_eq!(unchoked, 0, "a peer is served from a disk that hangs");
            return;
        }
        let Some(next) = self.next_in_turn() else { return };
        assert_eq!(unchoked, self.options.slots, "a slot is free and a peer waits");
        assert!(
            self.unchoked().all(|(_, peer)| peer.interested),
            "a peer waits for a slot that no other uses"
        );
        assert!(self.crowding(next).is_none(), "a user without a slot waits, and another has two");
    }
}
