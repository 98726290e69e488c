//! The content of a file, for front ends.

use super::convert;
use crate::client::api::{ApiError, Content};
use crate::client::reading::OpenFile;
use crate::net::Stop;
use crate::types::{FileName, Sha1Digest};

impl Content for OpenFile {
    fn name(&self) -> FileName {
        self.facts().name.straight()
    }

    fn len(&self) -> u64 {
        self.facts().len
    }

    fn sha1(&self) -> Sha1Digest {
        self.facts().sha1
    }

    fn read_at(&mut self, bytes: &mut [u8], offset: u64, stop: &Stop) -> Result<usize, ApiError> {
        OpenFile::read_at(self, bytes, offset, stop).map_err(convert::error)
    }
}
