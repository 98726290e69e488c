//! Moving a file's pieces among the members who have them (design sections 5 and 6).

mod api;
mod choker;
mod download;
mod engine;
mod hasher;
mod picker;
#[cfg(test)]
mod sim;
mod spreader;
mod window;

pub use api::{
    DownloadSpec, EngineConfig, EngineError, EngineEvent, HashError, Hashed, Host, SeedSpec, SeenPeer, TransferState,
    TransferStatus, UnreachablePeer, UploadStats, Why,
};
pub use choker::{Choke, Choker, ChokerOptions, REQUESTS_MAX, UploadOrder};
pub use download::{Action, BlockFate, ChunkJob, Download, LinkKey, LinkStats, LinkTraits, Options, Stats};
pub use engine::{Engine, Transfer};
pub use hasher::hash_file;
pub use spreader::Spreader;
