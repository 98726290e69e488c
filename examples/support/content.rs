//! Files of any size whose content no two pieces have in common, and their SHA-1.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sha1::{Digest, Sha1};

use super::{Result, check_interrupt};

/// Bytes written or read at once.
const CHUNK_LEN: usize = 1 << 20;

/// Writes `len` bytes that look random and are the same each time; returns their SHA-1.
pub(crate) fn make(path: &Path, len: u64) -> Result<String> {
    let mut random = SmallRng::seed_from_u64(len);
    let (mut file, mut hasher) = (File::create(path)?, Sha1::new());
    let mut chunk = vec![0; CHUNK_LEN];
    let mut left = len;
    while left > 0 {
        check_interrupt()?;
        let part = &mut chunk[..left.min(CHUNK_LEN as u64) as usize];
        random.fill_bytes(part);
        hasher.update(&*part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(hex(hasher))
}

/// Returns the SHA-1 of a file.
pub(crate) fn sha1_of(path: &Path) -> Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha1::new());
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        check_interrupt()?;
        match file.read(&mut chunk)? {
            0 => return Ok(hex(hasher)),
            len => hasher.update(&chunk[..len]),
        }
    }
}

fn hex(hasher: Sha1) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
