//! What goes in and out of the [`super::Replica`]: tickets, links, and the effects it asks its driver for.

use std::fmt;

use crate::types::{Operation, OriginId, Outcome, SyncMessage, TrackerState};

/// Correlates a submitted request with its [`Output::Reply`]; chosen by the driver, given back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One replication link, as seen from this tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// The link this tracker dialled, by the other one's number (line in `tracker_info.txt`). Operations leave here.
    To(u32),
    /// A link another tracker dialled, by a number that is unique among accepted connections. Operations arrive here.
    From(u64),
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(number) => write!(f, "link to tracker {number}"),
            Self::From(number) => write!(f, "accepted link {number}"),
        }
    }
}

/// What is to be made durable in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// In this order, each one continuing its origin.
    pub operations: Vec<Operation>,
    /// A new own origin, stored before the operations: the store's from now on.
    pub origin: Option<OriginId>,
}

/// An effect that the driver carries out, in the order it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Store this, then call [`super::Replica::persisted`]. Several may be stored in one transaction.
    Persist(Batch),
    /// Send this.
    Send(LinkId, SyncMessage),
    /// Load these operations, all of them durable here, and send them in one frame or several, in this order.
    SendStored {
        /// Where they go.
        link: LinkId,
        /// Origin, first and last sequence (both inclusive); together at most `OPERATIONS_PER_BATCH_MAX` operations.
        ranges: Vec<(OriginId, u64, u64)>,
    },
    /// Answer a request.
    Reply(Ticket, Outcome),
    /// Something for the log.
    Notice(Notice),
    /// Close this link; the replica has forgotten it already and passes over what still arrives on it.
    Drop(LinkId),
}

/// A life event worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A peer has more of this store's own operations than the store itself.
    #[error(
        "the store went back in time: it has {known} of its own operations, another tracker {claimed}; it goes on as a new origin"
    )]
    StoreWentBack {
        /// Own operations here.
        known: u64,
        /// Own operations there.
        claimed: u64,
        /// The origin until now.
        old: OriginId,
        /// The origin from now on.
        new: OriginId,
    },
    /// A change had to be recorded before every peer had confirmed that the store did not go back in time.
    #[error("not every tracker could be asked whether this store is current; it goes on as a new origin to be safe")]
    OriginUnconfirmed {
        /// The origin until now.
        old: OriginId,
        /// The origin from now on.
        new: OriginId,
    },
    /// The other end of a link uses this store's origin: it is this tracker itself, or runs on a copy of its data directory.
    #[error("{link}: the other end has this tracker's own origin; check tracker_info.txt, and that no data directory was copied")]
    SameOrigin {
        /// The link, which is dropped.
        link: LinkId,
    },
    /// An operation's stamp lies too far in the future to be merged.
    #[error("{link}: an operation is stamped {ahead_ms} ms ahead of this tracker's clock; check the clocks of all trackers")]
    StampAhead {
        /// The link, which is dropped.
        link: LinkId,
        /// How far ahead in milliseconds.
        ahead_ms: u64,
    },
    /// A peer broke the replication protocol.
    #[error("{link}: {what}; the link is dropped")]
    Violation {
        /// The link, which is dropped.
        link: LinkId,
        /// What it did.
        what: &'static str,
    },
    /// A peer did not acknowledge in time; replies no longer wait for it.
    #[error("tracker {tracker} does not acknowledge; replies no longer wait for it until it has caught up")]
    Late {
        /// Its number.
        tracker: u32,
    },
    /// A peer has everything; replies wait for it again.
    #[error("tracker {tracker} is up")]
    Up {
        /// Its number.
        tracker: u32,
    },
}

/// How the link to one other tracker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    /// The other tracker's number.
    pub tracker: u32,
    /// Never `Myself`.
    pub state: TrackerState,
    /// Operations known here that it has not acknowledged.
    pub lag: u64,
}

/// Says why a stored operation cannot be what the store held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A sequence is missing or comes twice.
    #[error(
        "the store is damaged: origin {origin} continues with operation {got} where {want} is due; restore a backup or start empty"
    )]
    Gap {
        /// The origin.
        origin: OriginId,
        /// The sequence stored.
        got: u64,
        /// The sequence due.
        want: u64,
    },
}
