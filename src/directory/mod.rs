//! The replicated state of a tracker and its synchronisation with the others (design section 4). PURE: no socket, file, thread,
//! channel, lock, wall clock or randomness of the operating system.
//!
//! **Invariant:** trackers that know the same operations hold equal directories, whatever the order in which these came; and
//! what was acknowledged is durable on the tracker that said so and on every tracker that was up then.
//!
//! A [`Directory`] is a map of registers in which the last writer wins, by `(stamp, origin)`, with indexes over it that answer
//! queries. A [`Replica`] puts it on the network: it judges requests, stamps the operations they become, passes operations on
//! and merges those that arrive, and holds each reply until what it tells is safe. One thread owns it (the tracker's core thread);
//! nothing in it blocks. The driver calls one method, drains [`Replica::poll`], carries the [`Output`]s out, and so on.
//!
//! # Choices where the design left room
//!
//! - **Two links between two trackers.** Each one dials the other; operations travel from the dialling to the accepting end, vectors
//!   back. A vector tells what is durable, and every rise is told to everybody, so that it acknowledges a batch and at the same time
//!   spares the other end from sending what came another way.
//! - **Up** means: it has acknowledged everything whose reply has left. How a link gets there under steady load stands in `links`.
//! - **An origin may have been used further than the store knows**, if the store was put back. Until every configured tracker has
//!   said how much of it it holds, the first change takes a fresh origin. A store without operations is taken for a new one: whoever
//!   puts back an empty store must give it a new origin.
//! - **A stamp more than two minutes ahead** of the wall clock ends the link, see `replication`. A tracker that wrote while its own
//!   clock was far ahead, and alone, is heard again only when that time has come.
//! - **Requests that found nothing to do** (sharing what is shared) are acknowledged without an operation, once everything known
//!   here is safe. Refusals are answered at once and not remembered.
//! - **Leaving names the heir** in the owner register, and an owner by succession who acts is named too: a former owner who comes
//!   back is a plain member. Being let in ends shares left over from an earlier membership.
//! - **A real name beats a number**: see `names`.
//!
//! # What it leaves out
//!
//! Operations are not kept, but for the last few: the driver reads them from the store ([`Output::SendStored`]). Registers are
//! never removed, and requests are remembered for ever, so memory grows with history, by about 100 bytes a request besides
//! what it wrote. Whether a peer may replicate at all is the driver's business; here it is believed, within limits.

mod clock;
mod digest;
mod group;
mod links;
mod names;
mod output;
mod queries;
mod registers;
mod replica;
mod replication;
mod requests;
mod rules;
mod state;
mod voids;
mod waiting;

pub use output::{Batch, LinkId, LinkInfo, Notice, Output, RestoreError, Ticket};
pub use queries::Counts;
pub use replica::Replica;
pub use state::Directory;
pub use voids::void_until_ms;

#[cfg(test)]
mod sim;
