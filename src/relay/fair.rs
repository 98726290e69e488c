//! Who may move how many bytes now: rates of the relay, its users and its pairs, and fairness among
//! users, then among the pairs of a user.
//!
//! **Invariant:** no rate is exceeded by more than [`BURST`]'s worth. Of two users who always have
//! bytes to move, neither gets ahead of the other by more than [`LAG_MAX`] and one portion, however
//! many pairs each has.
//!
//! Pure: the time comes in. Start-time fair queueing: a user's account grows by the bytes moved, the
//! smallest account goes first, and one that was idle goes on from just behind the others.

use std::collections::HashMap;
use std::time::Duration;

use crate::types::{Rate, UserId};

/// Time's worth of bytes that may go at once after a pause.
const BURST: Duration = Duration::from_millis(100);
/// Fewer bytes are not moved, as long as the rate's burst has so many: each move is two system calls.
const PORTION_MIN: u64 = 16 << 10;
/// Bytes by which one that was idle is behind the others.
const LAG_MAX: u64 = 1 << 20;

/// A rate (GCRA over bytes).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: Option<u64>,
    /// Until when the bytes moved are spoken for.
    until: Duration,
}

impl Bucket {
    fn new(rate: Option<Rate>) -> Self {
        Self { rate: rate.map(Rate::get), until: Duration::ZERO }
    }

    fn time_of(bytes: u64, rate: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64)
    }

    /// Bytes that may go now; or when the least portion may.
    fn allowance(&self, now: Duration) -> Result<u64, Duration> {
        let Some(rate) = self.rate else { return Ok(u64::MAX) };
        let least = Self::time_of(PORTION_MIN, rate).min(BURST);
        let left = (now + BURST).saturating_sub(self.until.max(now));
        if left < least {
            return Err(self.until + least - BURST);
        }
        Ok(((left.as_nanos() * u128::from(rate) / 1_000_000_000) as u64).max(1))
    }

    fn take(&mut self, now: Duration, bytes: u64) {
        if let Some(rate) = self.rate {
            self.until = self.until.max(now) + Self::time_of(bytes, rate);
        }
    }
}

/// The account of one pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairShare {
    bucket: Bucket,
    moved: u64,
}

#[derive(Debug)]
struct UserShare {
    bucket: Bucket,
    moved: u64,
    /// Pairs that the user takes part in; without one, the account is forgotten.
    pairs: usize,
}

/// The accounts of all users, and the relay's rate. Bounded by the number of pairs.
#[derive(Debug)]
pub(super) struct Fair {
    relay: Bucket,
    user_rate: Option<Rate>,
    pair_rate: Option<Rate>,
    users: HashMap<UserId, UserShare>,
    /// The account of the user who moved something last, before it did.
    clock: u64,
}

impl Fair {
    pub(super) fn new(
        rate: Option<Rate>,
        user_rate: Option<Rate>,
        pair_rate: Option<Rate>,
    ) -> Self {
        let (relay, users) = (Bucket::new(rate), HashMap::new());
        Self { relay, user_rate, pair_rate, users, clock: 0 }
    }

    /// Opens a pair's account, and those of its users.
    pub(super) fn join(&mut self, users: [UserId; 2]) -> PairShare {
        for user in distinct(users) {
            let bucket = Bucket::new(self.user_rate);
            let new = || UserShare { bucket, moved: 0, pairs: 0 };
            self.users.entry(user).or_insert_with(new).pairs += 1;
        }
        PairShare { bucket: Bucket::new(self.pair_rate), moved: 0 }
    }

    pub(super) fn leave(&mut self, users: [UserId; 2]) {
        for user in distinct(users) {
            if let Some(share) = self.users.get_mut(&user) {
                share.pairs -= 1;
                if share.pairs == 0 {
                    self.users.remove(&user);
                }
            }
        }
    }

    /// Bytes that a pair may move now; or when it may next.
    pub(super) fn allowance(
        &self,
        now: Duration,
        pair: &PairShare,
        users: [UserId; 2],
    ) -> Result<u64, Duration> {
        let of_users = distinct(users).filter_map(|user| self.users.get(&user));
        let buckets = of_users.map(|share| &share.bucket).chain([&self.relay, &pair.bucket]);
        let all = buckets.map(|bucket| bucket.allowance(now));
        all.reduce(|one, other| match (one, other) {
            (Ok(one), Ok(other)) => Ok(one.min(other)),
            (Err(one), Err(other)) => Err(one.max(other)),
            (Err(at), _) | (_, Err(at)) => Err(at),
        })
        .unwrap_or(Ok(u64::MAX))
    }

    /// The smallest goes first.
    pub(super) fn rank(&self, pair: &PairShare, users: [UserId; 2]) -> (u64, u64) {
        let floor = self.clock.saturating_sub(LAG_MAX);
        let account = |user: UserId| self.users.get(&user).map_or(floor, |share| share.moved);
        (users.map(account).into_iter().max().unwrap_or(floor).max(floor), pair.moved)
    }

    /// Notes that a pair has moved bytes.
    pub(super) fn moved(
        &mut self,
        now: Duration,
        pair: &mut PairShare,
        users: [UserId; 2],
        bytes: u64,
    ) {
        self.clock = self.clock.max(self.rank(pair, users).0);
        let floor = self.clock.saturating_sub(LAG_MAX);
        self.relay.take(now, bytes);
        pair.bucket.take(now, bytes);
        pair.moved += bytes;
        for user in distinct(users) {
            if let Some(share) = self.users.get_mut(&user) {
                share.bucket.take(now, bytes);
                share.moved = share.moved.max(floor) + bytes;
            }
        }
    }
}

fn distinct([one, other]: [UserId; 2]) -> impl Iterator<Item = UserId> {
    [Some(one), Some(other).filter(|other| *other != one)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn rate(bytes: u64) -> Option<Rate> {
        Rate::new(bytes).ok()
    }

    /// Moves for ten seconds what is allowed, always the pair of the smallest rank; returns the
    /// bytes of each.
    fn run(fair: &mut Fair, pairs: &[[UserId; 2]], portion: u64, per_ms: u64) -> Vec<u64> {
        let mut shares: Vec<PairShare> = pairs.iter().map(|users| fair.join(*users)).collect();
        let mut moved = vec![0; pairs.len()];
        for ms in 0..10_000 {
            let now = Duration::from_millis(ms);
            let mut room = per_ms;
            while room > 0 {
                let may = |n: &usize| fair.allowance(now, &shares[*n], pairs[*n]).is_ok();
                let Some(next) =
                    (0..pairs.len()).filter(may).min_by_key(|n| fair.rank(&shares[*n], pairs[*n]))
                else {
                    break;
                };
                let allowed = fair.allowance(now, &shares[next], pairs[next]).unwrap();
                let bytes = allowed.min(portion).min(room);
                fair.moved(now, &mut shares[next], pairs[next], bytes);
                (moved[next], room) = (moved[next] + bytes, room - bytes);
            }
        }
        moved
    }

    #[test]
    fn each_rate_holds() {
        let pairs = [[user(1), user(2)], [user(1), user(3)], [user(4), user(5)]];
        let mut fair = Fair::new(rate(10_000_000), rate(4_000_000), rate(3_000_000));
        let moved = run(&mut fair, &pairs, 128 << 10, u64::MAX);
        let burst = 1_000_000;
        assert!(moved.iter().all(|moved| *moved <= 30_000_000 + burst), "{moved:?}");
        assert!(moved[0] + moved[1] <= 40_000_000 + burst, "{moved:?}");
        assert!(moved[0] + moved[1] >= 39_000_000 && moved[2] >= 29_000_000, "{moved:?}");
    }

    #[test]
    fn a_user_with_many_pairs_gets_no_more_than_one_with_one() {
        let many = (0..9).map(|n| [user(1), user(10 + n)]);
        let pairs: Vec<[UserId; 2]> = many.chain([[user(2), user(3)]]).collect();
        for (limit, per_ms) in [(rate(8_000_000), u64::MAX), (None, 8_000)] {
            let mut fair = Fair::new(limit, None, None);
            let moved = run(&mut fair, &pairs, 64 << 10, per_ms);
            let (of_many, of_one) = (moved[..9].iter().sum::<u64>(), moved[9]);
            assert!(of_many.abs_diff(of_one) < 3_000_000, "{of_many} and {of_one}");
            let (least, most) =
                (moved[..9].iter().min().unwrap(), moved[..9].iter().max().unwrap());
            assert!(most - least < 1_000_000, "{moved:?}");
        }
    }

    #[test]
    fn one_that_was_idle_does_not_make_up_for_it() {
        let mut fair = Fair::new(None, None, None);
        let [busy, idle] = [[user(1), user(2)], [user(3), user(4)]];
        let (mut first, mut second) = (fair.join(busy), fair.join(idle));
        let now = Duration::from_secs(1);
        for _ in 0..1_000 {
            fair.moved(now, &mut first, busy, 1 << 20);
        }
        let mut in_a_row = 0u64;
        while fair.rank(&second, idle) < fair.rank(&first, busy) {
            fair.moved(now, &mut second, idle, 64 << 10);
            in_a_row += 64 << 10;
        }
        assert!(in_a_row <= 3 * LAG_MAX, "{in_a_row}");
    }

    #[test]
    fn accounts_go_with_their_pairs_and_a_user_may_be_at_both_ends() {
        let mut fair = Fair::new(None, rate(1_000_000), None);
        let own = [user(1), user(1)];
        let mut share = fair.join(own);
        let now = Duration::from_secs(5);
        fair.moved(now, &mut share, own, 50_000);
        assert_eq!(fair.allowance(now, &share, own), Ok(50_000), "it is counted once");
        fair.moved(now, &mut share, own, 50_000);
        let at = fair.allowance(now, &share, own).unwrap_err();
        assert!(at > now && fair.allowance(at, &share, own).is_ok());
        fair.leave(own);
        assert!(fair.users.is_empty());
    }
}
