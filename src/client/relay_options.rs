//! How a client uses relays, as its user has said.

use crate::types::Rate;

/// How a client uses relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayOptions {
    /// Links may go through a relay when there is no other way.
    pub uses: bool,
    /// This device relays for members of its user's groups, at this port (0: any free one).
    pub offers: Option<u16>,
    /// Bytes a second that it relays; `None` for no limit.
    pub rate: Option<Rate>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { uses: true, offers: None, rate: Rate::new(MEMBER_RATE).ok() }
    }
}

/// Bytes a second that a member relays if the user names no rate: less than a home's uplink.
const MEMBER_RATE: u64 = 2_000_000;
