//! The replicated state of a tracker and its synchronisation with the others. PURE: no socket,
//! file, thread, channel, lock, wall clock or randomness of the operating system.
//!
//! **Invariant:** trackers that know the same rows hold equal directories, whatever the order in
//! which these came; what was acknowledged is durable on the tracker that said so and on every
//! tracker that was up then; and of two changes of one thing where the second was asked after the
//! first was acknowledged, the second stands.
//!
//! A [`Directory`] is a map of rows in which the last writer wins, by `(stamp, request id)`, with
//! indexes over it that answer queries. Both are in a store behind the trait [`Rows`]: in memory or
//! in a database; nothing of them is kept here. A [`Replica`] puts it on the network: it judges
//! requests, stamps the rows they become, passes rows on and merges those that arrive, and holds
//! each reply until what it tells is safe. One thread owns it (the tracker's core thread); nothing
//! in it blocks. The driver calls one method, drains [`Replica::poll`], carries the [`Output`]s
//! out, and so on.
//!
//! # Choices where the design left room
//!
//! - **Two links between two trackers.** Each one dials the other; rows travel from the dialling to
//!   the accepting end, acknowledgements back.
//! - **Checkpoint and vector.** A checkpoint says up to which update sequence of one store its
//!   stream has been merged here; in the middle of a stream it is a place to go on from, and no
//!   more. The version vector says that everything that a store had has been merged; it rises when
//!   a stream has reached its end. A row from a place that the vector covers is not sent.
//! - **Up** means: it has acknowledged everything whose reply has left. How a link gets there under
//!   steady load stands in `links`.
//! - **A store takes a new id at each start** and says which ids it had before. So a store that was
//!   put back from a copy cannot use an update sequence twice.
//! - **A share ends with the membership** under which it began: its row names the request that let
//!   the user in. So leaving a group, or being removed, writes one row however many files were
//!   shared.
//! - **The deletion of an account or a group is final**: no later write brings it back.
//! - **Leaving names the heir** in the owner row, and an owner by succession who acts is named too:
//!   a former owner who comes back is a plain member.
//! - **A real name beats a number**: see `names`.
//! - **Refusals are answered at once and not remembered.** Requests are remembered as long as their
//!   rows are kept; an older copy is refused for its time.
//!
//! # What it leaves out
//!
//! Whether a peer may replicate at all is the driver's business; here it is believed, within
//! limits. Rows of a deleted group or account stay in the store, without effect.

mod clock;
mod devices;
mod digest;
mod entries;
mod group;
mod invitations;
mod links;
mod names;
mod output;
mod queries;
mod replica;
mod replication;
mod rows;
mod rules;
mod settings;
mod shared_rows;
mod state;
mod voids;
mod waiting;

pub use entries::{TOTALS_KEY, VERSION as ENTRIES_VERSION, add_totals, subtract_totals};
pub use output::{LinkId, LinkInfo, Notice, Output, Ticket};
pub use queries::{Counts, Usage};
pub use replica::{Asked, Replica};
pub use rows::{Entry, MemoryRows, Rows, RowsMut, end_of, stored_key};
pub use settings::{Accounts, KEY_ENDED, KEY_ROTATION, QUOTA_NAMES, Quotas, Settings};
pub use shared_rows::Mark;
pub use state::Directory;
pub use voids::void_until_ms;

#[cfg(test)]
mod sim;
