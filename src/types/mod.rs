//! The words of Posse as types: validated names and ids, piece geometry, digests, bitfields, and
//! the facts of the directory.
//!
//! **Invariant:** a value that exists is valid. Strings and integers from outside become these
//! types once, at the edge, and nothing behind the edge checks them again.
//!
//! No IO and no bytes: how a value is laid out on a wire or a disk is the business of
//! [`crate::wire`] and [`crate::store`].

mod bitfield;
mod candidate;
mod chain;
mod change;
mod claims;
mod digest;
mod entry;
mod escape;
mod file_stamp;
mod fingerprint;
mod geometry;
mod human;
mod id;
mod invitation;
pub mod invitation_link;
mod joiners;
pub mod limits;
mod name;
mod pattern;
mod punch;
mod rate;
mod relay;
mod row;
mod secret;
mod setting;
mod stamp;
mod succession;
mod sync;
mod text;
mod tracker_address;
mod tracker_info;
mod verified_pieces;
mod version;

pub use bitfield::{Bitfield, BitfieldError};
pub use candidate::{Candidate, CandidateKind, is_private, usable_candidates};
pub use chain::{ChainHash, ChainingValues};
pub use change::{
    Change, Effect, FileFacts, Limit, Order, Outcome, Refusal, RequestStamp, Success,
};
pub use claims::{SessionToken, Signature, Ticket, TicketClaims, TokenClaims};
pub use digest::{InfoHash, Sha1Digest};
pub use entry::{
    DeviceEntry, DownloadState, FileEntry, GroupEntry, InvitationEntry, MemberEntry, Part,
    PeerEntry, RequestEntry, TrackerEntry, TrackerState, UserEntry,
};
pub use escape::{escape, escape_json, is_safe, is_unsafe};
pub use file_stamp::{FileStamp, InodeId};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use geometry::{Geometry, GeometryError, PieceIndex, Span};
pub(crate) use human::{bad_data_text, human_bytes, unreachable_text};
pub use id::{DeviceId, FileId, GroupId, ParseIdError, RequestId, StoreId, UserId};
pub use invitation::{GroupSettings, InvitationId, InvitationSecret, invitation_expires_ms};
pub use name::{DeviceName, FileName, GroupName, Label, NameError, UserName};
pub use pattern::{FileOrder, Pattern, PatternError};
pub use punch::PunchSecret;
pub use rate::{Rate, RateError};
pub use relay::{RelayMeeting, RelayParty, RelaySecret};
pub use row::{
    Content, DeviceRow, FileRow, GroupRow, InvitationRow, InvitationUseRow, MembershipRow,
    MembershipState, Place, RequestRow, Row, RowKey, SharingRow, Transaction, UserRow,
    VersionVector,
};
pub use secret::{Password, PasswordHash};
pub use setting::{SettingName, SettingNameError};
pub use stamp::Stamp;
pub use succession::{KeyRotation, KeyRotationError, PublicKey, RotationStage};
pub use sync::{Durable, Lineage, RowBatch, StoreState, SyncMessage};
pub use tracker_address::{TrackerAddress, TrackerAddressError};
pub use tracker_info::{TrackerInfo, TrackerInfoError};
pub use verified_pieces::{PartStamp, VerifiedPieces};
pub use version::Version;
