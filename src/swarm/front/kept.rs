//! Verified pieces kept in memory for the whole-file hash.
//!
//! **Invariant:** all downloads together keep no more than [`KEPT_LEN_MAX`] bytes: what a [`Kept`]
//! takes of the sum it gives back when dropped.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::pool::Buffer;

/// Bytes kept, whatever the number of downloads.
pub(super) const KEPT_LEN_MAX: usize = 8 << 20;

/// Bytes that are kept now.
#[derive(Default)]
pub(in crate::swarm) struct KeptSum(AtomicUsize);

/// A piece that is kept.
pub(in crate::swarm) struct Kept {
    buffer: Arc<Buffer>,
    sum: Arc<KeptSum>,
}

impl Kept {
    /// Keeps a piece, if there is room.
    pub(super) fn new(buffer: &Arc<Buffer>, sum: &Arc<KeptSum>) -> Option<Self> {
        let add = |sum: usize| sum.checked_add(buffer.len()).filter(|sum| *sum <= KEPT_LEN_MAX);
        sum.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { buffer: buffer.clone(), sum: sum.clone() })
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.sum.0.fetch_sub(self.buffer.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pool::Buffers;
    use super::*;

    #[test]
    fn all_together_keep_no_more_than_the_sum() {
        let (sum, buffers) = (Arc::<KeptSum>::default(), Arc::<Buffers>::default());
        let mut kept: Vec<Kept> =
            std::iter::from_fn(|| Kept::new(&Arc::new(buffers.take(512 << 10)), &sum)).collect();
        assert_eq!(kept.len(), 16);
        kept.pop();
        assert!(
            Kept::new(&Arc::new(buffers.take(1 << 20)), &sum).is_none(),
            "half of that is free"
        );
        assert!(Kept::new(&Arc::new(buffers.take(512 << 10)), &sum).is_some());
        kept.clear();
        assert_eq!(sum.0.load(Ordering::Relaxed), 0);
    }
}
