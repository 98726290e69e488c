//! Files that get their names once they are whole.
//!
//! **Invariant:** nothing is overwritten.
//!
//! Every function blocks on the disk.

mod naming;
mod new_file;

pub(crate) use naming::{Named, Naming, SystemNaming, rename};
pub(crate) use new_file::NewFile;
