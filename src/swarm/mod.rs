//! Moving a file's pieces among the members who have them (design sections 5 and 6).

mod choker;
mod download;
mod picker;
#[cfg(test)]
mod sim;
mod spreader;
mod window;

pub use choker::{Choke, Choker, ChokerOptions, REQUESTS_MAX, UploadOrder};
pub use download::{Action, BlockFate, ChunkJob, Download, LinkKey, LinkStats, LinkTraits, Options, Stats};
pub use spreader::Spreader;
