//! The buffers that pieces are received into and read into.
//!
//! **Invariant:** at most `SPARE_MAX` buffers wait unused.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// Buffers kept for the next piece: what a few fast links have in flight.
const SPARE_MAX: usize = 24;
/// Bytes in the largest buffer worth keeping.
const SPARE_LEN_MAX: usize = 1 << 20;

/// The unused buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that goes back to its pool when dropped.
pub(crate) struct Buffer {
    home: Arc<Buffers>,
    bytes: Vec<u8>,
    len: usize,
}

impl Buffers {
    /// Takes a buffer of `len` bytes, with arbitrary contents.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let mut bytes = self.spare.lock().pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer { home: self.clone(), bytes, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.home.spare.lock();
        if bytes.len() <= SPARE_LEN_MAX && spare.len() < SPARE_MAX {
            spare.push(bytes);
        }
    }
}
