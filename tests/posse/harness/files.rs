//! Files to share: content that is the same at every run and compresses into a seed.

use std::io::Read;
use std::path::Path;

use posse::types::{ChainingValues, FileFacts, Geometry, Sha1Digest};
use posse::wire::metainfo::Metainfo;
use sha1::{Digest, Sha1};

/// Bytes that look random and follow from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) piece_len: u32,
    /// Zero bytes behind `bytes`: makes files of many pieces that take no memory.
    zeros: u64,
}

impl Content {
    /// Makes `len` bytes; other seeds make other bytes.
    pub(crate) fn new(name: &str, len: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            // xorshift64*: fast, and no two pieces are alike.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
        }
        bytes.truncate(len);
        Self { name: name.to_owned(), bytes, piece_len: 512 << 10, zeros: 0 }
    }

    /// Makes a file of that many pieces, all zeros. Its whole-file digest is not told truly: nobody
    /// is to fetch all of it.
    pub(crate) fn zeros(name: &str, pieces: u64, piece_len: u32) -> Self {
        Self {
            name: name.to_owned(),
            bytes: Vec::new(),
            piece_len,
            zeros: pieces * u64::from(piece_len),
        }
    }

    /// A run of its bytes.
    pub(crate) fn read(&self, from: usize, len: usize) -> Vec<u8> {
        let mut bytes = self
            .bytes
            .get(from..)
            .map_or_else(Vec::new, |rest| rest[..len.min(rest.len())].to_vec());
        bytes.resize(len, 0);
        bytes
    }

    /// Cuts it into other pieces than a client would.
    pub(crate) fn with_piece_len(mut self, piece_len: u32) -> Self {
        self.piece_len = piece_len;
        self
    }

    /// How it is cut.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry::new(self.bytes.len() as u64 + self.zeros, self.piece_len)
            .expect("test files are small")
    }

    /// Its info dictionary.
    pub(crate) fn metainfo(&self) -> Metainfo {
        let digest = |piece: &[u8]| Sha1Digest::from_bytes(Sha1::digest(piece).into());
        let zeros = vec![
            digest(&vec![0; self.piece_len as usize]);
            (self.zeros / u64::from(self.piece_len)) as usize
        ];
        let pieces = self.bytes.chunks(self.piece_len as usize).map(digest).chain(zeros).collect();
        Metainfo::new(self.name.parse().expect("a file name"), self.geometry(), pieces)
            .expect("one digest a piece")
    }

    /// What a tracker is told of it.
    pub(crate) fn facts(&self) -> FileFacts {
        FileFacts {
            info_hash: self.metainfo().info_hash(),
            name: self.name.parse().expect("a file name"),
            len: self.geometry().len(),
            piece_len: self.piece_len,
            sha1: Sha1Digest::from_bytes(Sha1::digest(&self.bytes).into()),
            chain: None,
        }
    }

    /// The same with the hash of its chaining values, as our own clients list it.
    pub(crate) fn proven_facts(&self) -> FileFacts {
        assert_eq!(self.zeros, 0, "only what is in memory is hashed");
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0_u32];
        let mut values = Vec::new();
        for piece in self.bytes.chunks(self.piece_len as usize).rev().skip(1).rev() {
            sha1::block_api::compress(&mut state, piece.as_chunks::<64>().0);
            values.push(state.map(u32::to_be_bytes).as_flattened().try_into().expect("20 bytes"));
        }
        let chain = (!values.is_empty()).then(|| ChainingValues::new(values).hash());
        FileFacts { chain, ..self.facts() }
    }

    /// Its SHA-1, as listings show it.
    pub(crate) fn sha1(&self) -> String {
        self.facts().sha1.to_string()
    }

    /// Writes it as a file.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, &self.bytes).expect("a test file can be written");
    }
}

/// SHA-1 of bytes, in hexadecimal.
pub(crate) fn sha1_hex(bytes: &[u8]) -> String {
    Sha1Digest::from_bytes(Sha1::digest(bytes).into()).to_string()
}

/// SHA-1 of a file, in hexadecimal.
pub(crate) fn sha1_of(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut hasher, mut buffer) = (Sha1::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).expect("a test file can be read") {
            0 => return Sha1Digest::from_bytes(hasher.finalize().into()).to_string(),
            len => hasher.update(&buffer[..len]),
        }
    }
}
