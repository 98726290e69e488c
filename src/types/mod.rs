//! The words of Posse as types: validated names and ids, piece geometry, digests, bitfields, and the facts of the directory.
//!
//! **Invariant:** a value that exists is valid. Strings and integers from outside become these types once, at the edge, and
//! nothing behind the edge checks them again.
//!
//! No IO and no bytes: how a value is laid out on a wire or a disk is the business of [`crate::wire`] and [`crate::store`].

mod bitfield;
mod change;
mod claims;
mod digest;
mod entry;
mod escape;
mod file_stamp;
mod fingerprint;
mod geometry;
mod id;
pub mod limits;
mod name;
mod operation;
mod rate;
mod secret;
mod stamp;
mod sync;
mod tracker_address;
mod tracker_info;

pub use bitfield::{Bitfield, BitfieldError};
pub use change::{Change, Effect, FileFacts, Outcome, Refusal};
pub use claims::{SessionToken, Signature, Ticket, TicketClaims, TokenClaims};
pub use digest::{InfoHash, Sha1Digest};
pub use entry::{
    DownloadState, FileEntry, GroupEntry, MemberEntry, Part, PeerEntry, RequestEntry, TrackerEntry, TrackerState, UserEntry,
};
pub use escape::{escape, is_unsafe};
pub use file_stamp::{FileId, FileStamp};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use geometry::{Geometry, GeometryError, PieceIndex, Span};
pub use id::{DeviceId, GroupId, OriginId, ParseIdError, RequestId, UserId};
pub use name::{FileName, GroupName, Label, NameError, UserName};
pub use operation::{MembershipState, Operation, Tag, VersionVector, Write};
pub use rate::{Rate, RateError};
pub use secret::{Password, PasswordHash};
pub use stamp::Stamp;
pub use sync::SyncMessage;
pub use tracker_address::{TrackerAddress, TrackerAddressError};
pub use tracker_info::{TrackerInfo, TrackerInfoError};
