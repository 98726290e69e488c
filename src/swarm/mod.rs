//! Moving a file's pieces among the members who have them.

mod api;
mod disk;
mod engine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod link;
mod pick;
mod serve;
#[cfg(test)]
mod sim;

pub use api::{
    Addresses, DownloadSpec, EngineConfig, EngineError, EngineEvent, HashError, Hashed, Host,
    InboundLink, Limits, LinkFacts, LinkPicture, LocalCopy, MeetError, Meeting, PieceBucket,
    PieceMap, Proof, ReadTrouble, RelayPlace, SeedSpec, SeenPeer, Traffic, TransferId,
    TransferState, TransferStatus, UnreachablePeer, UploadStats, Way, Why,
};
pub(crate) use disk::part_file::{is_empty as is_empty_part, missing_part};
pub(crate) use disk::seed_files::{is_same, open_plain, stamp_of};
pub use disk::{
    hasher::{hash_file, hash_file_as},
    new_part::{make_part, remove_new_part},
    part_file::part_path,
};
pub use engine::Engine;
pub(crate) use engine::handle::Pulse;
pub use engine::handle::Transfer;
pub use engine::reader::{READERS_MAX, READERS_PER_FILE_MAX, ReadError, Reader};
pub(crate) use pick::download::{Action, Stats};
pub use pick::download::{BlockFate, ChunkJob, Download, LinkKey, LinkTraits, Options, ReaderKey};

#[cfg(test)]
pub(crate) use serve::choker::Choke;
pub(crate) use serve::order::REQUESTS_MAX;
#[cfg(any(test, fuzzing))]
pub(crate) use serve::{
    choker::{Choker, ChokerOptions},
    order::UploadOrder,
    super_seeding::SuperSeeder,
};
