//! Files: the `.part` of a download, shared files that are open, hashing, and piece buffers.

pub(crate) mod buffers;
pub(crate) mod file_systems;
pub(crate) mod hasher;
pub(crate) mod new_part;
pub(crate) mod part_file;
pub(crate) mod seed_files;
