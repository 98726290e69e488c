//! What goes in and out of the [`super::Replica`]: tickets, links, and the effects it asks its
//! driver for.

use std::fmt;

use crate::types::{Outcome, SyncMessage, TrackerState, Transaction, VersionVector};

/// Correlates a submitted request with its [`Output::Reply`]; chosen by the driver, given back as
/// it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One replication link, as seen from this tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// The link this tracker dialled, by the other one's number (line in `tracker_info.txt`). Rows
    /// leave here.
    To(u32),
    /// A link another tracker dialled, by a number that is unique among accepted connections. Rows
    /// arrive here.
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

/// An effect that the driver carries out, in the order it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Store this, then call [`super::Replica::persisted`]. Several may share one transaction of
    /// the disk.
    Persist(Transaction),
    /// Send this.
    Send(LinkId, SyncMessage),
    /// Read rows from the store and send them in batches, in order of their update sequences,
    /// without splitting a transaction. The last batch ends at `through`; none is complete.
    SendStored {
        /// Where they go.
        link: LinkId,
        /// The rows are above this update sequence.
        after: u64,
        /// And up to this one, which is durable.
        through: u64,
        /// Rows from places that are known there need not be sent.
        known: VersionVector,
    },
    /// Answer a request.
    Reply(Ticket, Outcome),
    /// Something for the log.
    Notice(Notice),
    /// Close this link; the replica has forgotten it already and passes over what still arrives on
    /// it.
    Drop(LinkId),
    /// Look for tombstones and requests from before that time, in milliseconds since the Unix
    /// epoch, in the store, and hand them to [`super::Replica::sweep`].
    Sweep(u64),
}

/// A life event worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The other end of a link has this store: it is this tracker itself, or runs on a copy of its
    /// data directory.
    #[error(
        "{link}: the other end has this tracker's own store; check tracker_info.txt, and that no data directory is in use twice"
    )]
    SameStore {
        /// The link, which is dropped.
        link: LinkId,
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
    #[error(
        "tracker {tracker} does not acknowledge; replies no longer wait for it until it has caught up"
    )]
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
    /// A peer was away for longer than deletions are remembered here.
    #[error(
        "tracker {tracker} was away for longer than the retention time and must start anew: stop it, move its data directory \
         away, and start it again; it then fills itself from this one"
    )]
    PeerMustResync {
        /// Its number.
        tracker: u32,
    },
    /// This tracker was away for longer than deletions are remembered elsewhere.
    #[error(
        "this tracker was away for longer than the retention time: the others take nothing from it and send it nothing; stop \
         it, move its data directory away, and start it again; it then fills itself from them"
    )]
    MustResync,
}

/// How the link to one other tracker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    /// The other tracker's number.
    pub tracker: u32,
    /// Never `Myself`.
    pub state: TrackerState,
    /// Changes known here that it has not acknowledged.
    pub lag: u64,
}
