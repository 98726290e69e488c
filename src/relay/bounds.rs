//! What a relay moves at most, and for whom.
//!
//! Plain values.

use std::time::Duration;

use crate::types::Rate;

/// Time for both ends to come once they were introduced: two round trips through a bad network.
pub(super) const MEET_WITHIN: Duration = Duration::from_secs(10);
/// Time for a connection to say which one it is.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A pair ends when the system of one end has given no sign of life for so long: its cable may be
/// out, or its address may have changed. The other end cannot see that, as the relay's answers it.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Connections that have not said which they are: of one address, and of all. When there are more,
/// the oldest of the address, or of all, is closed.
pub(super) const NEWCOMERS_PER_SOURCE_MAX: usize = 32;
pub(super) const NEWCOMERS_MAX: usize = 256;
/// Introductions of one device that wait for an end to come: a download dials a few peers at once.
pub(super) const WAITING_PER_DEVICE_MAX: usize = 32;
/// Users whose bytes of the day are remembered; when there are more, others wait for the next day.
pub(super) const USERS_MAX: usize = 65_536;
/// Bytes of a user's and the relay's day are counted for so long.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What one relay moves at most. Every bound is there for a stranger's sake as well as for a
/// member's: who runs a relay gives away bandwidth, and says how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayBounds {
    /// Connected pairs at a time, with those introduced: two descriptors each, and 128 KiB where one
    /// end takes less than the other sends.
    pub sessions: usize,
    /// Pairs that one user takes part in.
    pub sessions_per_user: usize,
    /// Pairs between the same two devices: they link once for each file.
    pub sessions_per_pair: usize,
    /// Bytes a second of all pairs together, in both directions; `None` for no bound.
    pub rate: Option<Rate>,
    /// Bytes a second of the pairs of one user.
    pub user_rate: Option<Rate>,
    /// Bytes a second of one pair.
    pub pair_rate: Option<Rate>,
    /// Bytes of all pairs in a day.
    pub day: Option<u64>,
    /// Bytes of one user's pairs in a day.
    pub user_day: Option<u64>,
    /// Bytes of one pair, which ends then; its devices may ask anew.
    pub pair_bytes: u64,
    /// Time that a pair lasts.
    pub pair_time: Duration,
    /// Time without a byte after which a pair ends: longer than links are silent (100 s).
    pub idle: Duration,
}

impl Default for RelayBounds {
    fn default() -> Self {
        Self {
            sessions: 256,
            sessions_per_user: 32,
            sessions_per_pair: 8,
            rate: Rate::new(50_000_000).ok(),
            user_rate: Rate::new(25_000_000).ok(),
            pair_rate: None,
            day: None,
            user_day: Some(200_000_000_000),
            pair_bytes: 1 << 40,
            pair_time: Duration::from_secs(12 * 60 * 60),
            idle: Duration::from_secs(180),
        }
    }
}

/// Why a relay takes no introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    /// There are as many pairs as there may be.
    #[error("the relay has as many pairs as it takes")]
    Full,
    /// A user takes part in as many pairs as one may.
    #[error("a user has as many relayed connections as one may have")]
    UserFull,
    /// The two devices have as many connections, or one of them has as many under way.
    #[error("a device has as many relayed connections as it may have")]
    DeviceFull,
    /// The bytes of the day are used up, of a user or of the relay.
    #[error("the relayed bytes of the day are used up")]
    Spent,
}

/// What a relay has done, and does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Pairs that are connected.
    pub sessions: usize,
    /// Introductions that wait for an end to come.
    pub waiting: usize,
    /// Pairs that were connected since the start.
    pub sessions_total: u64,
    /// Bytes passed on since the start.
    pub bytes_total: u64,
    /// Introductions that were refused since the start, for a bound.
    pub refused_total: u64,
    /// Connections since the start that no introduction was for.
    pub strangers_total: u64,
}
