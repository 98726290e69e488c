//! SHA-1 digests: of a piece or a whole file, and the info hash that names a file's metainfo (BEP
//! 3).

use std::fmt;
use std::str::FromStr;

use super::id::opaque_id;

opaque_id!(
    /// SHA-1 of a piece or of a whole file.
    Sha1Digest,
    20
);
opaque_id!(
    /// SHA-1 of a file's bencoded v1 info dictionary (BEP 3).
    InfoHash,
    20
);
