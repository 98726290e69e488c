//! Moving a file's pieces among the members who have them.

mod api;
mod chain;
mod choker;
mod download;
mod engine;
mod fetch;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handle;
mod hasher;
mod limiter;
mod link;
mod manners;
mod metadata;
mod opening;
mod peers;
mod picker;
mod pool;
mod serve;
mod session;
mod shares;
#[cfg(test)]
mod sim;
mod spreader;
mod storage;
mod torrent;
mod transfer;
mod verify;
mod window;

pub use api::{
    DownloadSpec, EngineConfig, EngineError, EngineEvent, HashError, Hashed, Host, LinkFacts,
    LocalCopy, Proof, SeedSpec, SeenPeer, TransferId, TransferState, TransferStatus,
    UnreachablePeer, UploadStats, Why,
};
pub use choker::{Choke, Choker, ChokerOptions, REQUESTS_MAX, UploadOrder};
pub use download::{
    Action, BlockFate, ChunkJob, Download, LinkKey, LinkStats, LinkTraits, Options, Stats,
};
pub use engine::Engine;
pub(crate) use files::{open_plain, stamp_of};
pub(crate) use handle::Pulse;
pub use handle::Transfer;
pub use hasher::{hash_file, hash_file_as};
pub use limiter::Limits;
pub use spreader::Spreader;
pub use storage::part_path;
pub(crate) use storage::{is_empty as is_empty_part, missing_part};
