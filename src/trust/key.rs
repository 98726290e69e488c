//! An Ed25519 key pair and its file.
//!
//! **Invariant:** a key file is written whole, mode 0600, under its final name, and never replaces
//! one that is there: of two programs that make it at the same time, both go on with the same key.
//!
//! The file is PKCS#8 in PEM (RFC 5958, RFC 7468), as `openssl genpkey -algorithm ed25519` makes
//! it. Blocks on the disk.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustix::fs::{CWD, RenameFlags};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::types::{DeviceId, Fingerprint, Signature};

/// The rights of a key file.
const FILE_MODE: u32 = 0o600;
/// Bytes in a key file that could be one: about 120 hold a key.
const FILE_LEN_MAX: u64 = 16 << 10;

/// Says why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot use the key file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("others may read the key file {}: run chmod 600 on it, and if others have read it, make a new key; if chmod changes nothing, its disk keeps no permissions: move the directory to another disk, or mount this one with the option umask=077", .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// Others could read it as soon as it is made.
    #[error("the disk of {} keeps no permissions, so others could read the key there: use a directory on another disk, or mount this one with the option umask=077", .directory.display())]
    NoPermissions {
        /// The directory that was to hold it.
        directory: PathBuf,
    },
    /// It holds no key.
    #[error("{} holds no Ed25519 private key in PEM (PKCS#8)", .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("cannot make a key: the system gives no random numbers")]
    Random,
}

/// An Ed25519 key pair. Prints as `[redacted]`, and is wiped when dropped.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl KeyPair {
    /// Makes a new key pair, in memory.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair)
            .map_err(|_| KeyError::Random)?;
        let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
        Ok(Self { pair, pkcs8 })
    }

    /// Reads the key in `path`, or makes a new one there, with the directories above it. Tells
    /// whether it was made.
    ///
    /// # Errors
    /// Every [`KeyError`].
    pub fn load_or_make(path: &Path) -> Result<(Self, bool), KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|key| (key, false)),
        }
        let key = Self::generate()?;
        match key.save_new(path, FILE_MODE) {
            Ok(()) => Ok((key, true)),
            // Another program was faster.
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Ok((Self::load(path)?, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the key in `path`.
    ///
    /// # Errors
    /// Every [`KeyError`] but `Random`.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let wrap = |source| KeyError::File { path: path.to_owned(), source };
        let not_a_key = || KeyError::NotAKey { path: path.to_owned() };
        let file = fs::File::open(path).map_err(wrap)?;
        let facts = file.metadata().map_err(wrap)?;
        if !facts.is_file() || facts.len() > FILE_LEN_MAX {
            return Err(not_a_key());
        }
        if is_open_to_others(&facts) {
            return Err(KeyError::Readable { path: path.to_owned() });
        }
        let mut pem = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX as usize));
        file.take(FILE_LEN_MAX).read_to_end(&mut pem).map_err(wrap)?;
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| not_a_key())?;
        let key = Self::from_pkcs8(der.secret_pkcs8_der());
        der.zeroize();
        key.ok_or_else(not_a_key)
    }

    /// Takes a key from its PKCS#8 encoding, version 1 or 2; `None` if it is none.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        Some(Self { pair, pkcs8 })
    }

    /// Writes the key to a file that must not be there yet, with those rights.
    fn save_new(&self, path: &Path, mode: u32) -> Result<(), KeyError> {
        let wrap = |source| KeyError::File { path: path.to_owned(), source };
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(wrap)?;
        let temporary = directory.join(format!(".key-{:016x}", rand::random::<u64>()));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let written = file.map_err(wrap).and_then(|file| {
            // Before the key is in it.
            if is_open_to_others(&file.metadata().map_err(wrap)?) {
                return Err(KeyError::NoPermissions { directory: directory.to_owned() });
            }
            self.write_to(file).and_then(|()| put_in_place(&temporary, path)).map_err(wrap)
        });
        // Gone already if it was renamed.
        let _ = fs::remove_file(&temporary);
        written?;
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(wrap)
    }

    fn write_to(&self, mut file: fs::File) -> io::Result<()> {
        let text = self.to_pem();
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let block = pem::Pem::new("PRIVATE KEY", self.pkcs8.as_slice());
        let text = pem::encode_config(
            &block,
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        );
        block.into_contents().zeroize();
        Zeroizing::new(text)
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    /// The name of the network whose key this is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(Sha256::digest(self.public()).into())
    }

    /// The id of the device whose key this is.
    pub fn device(&self) -> DeviceId {
        DeviceId::from_bytes(Sha256::digest(self.public()).into())
    }

    /// Signs a message.
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; Signature::LEN];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature::from_bytes(bytes)
    }

    /// A secret for one purpose, the same at each start: it follows from a signature of a text that
    /// is no statement, and tells nothing of the key.
    pub(crate) fn secret_for(&self, purpose: &str) -> [u8; 32] {
        let message = [b"posse secret 1\0", purpose.as_bytes()].concat();
        Sha256::digest(self.sign(&message).as_bytes()).into()
    }

    /// The public key, as the library that makes certificates takes it.
    pub(super) fn public_ref(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The key as PKCS#8, for the library that makes connections.
    pub(super) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.pkcs8.as_slice())
    }
}

/// Tells whether others than the owner have any right to a file.
fn is_open_to_others(facts: &fs::Metadata) -> bool {
    facts.permissions().mode() & 0o077 != 0
}

/// Gives a file its name without ever replacing one that is there: by a hard link, or, where the
/// file system has none, by a rename that refuses to.
fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    Ok(rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?)
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/network.key");
        let (made, new) = KeyPair::load_or_make(&path).unwrap();
        assert!(new);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (read, new) = KeyPair::load_or_make(&path).unwrap();
        assert!(!new && read.public() == made.public());
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing else is left"
        );
        assert_eq!(format!("{made:?}"), "[redacted]");
    }

    #[test]
    fn on_a_disk_that_keeps_no_permissions_no_key_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.key");
        // What such a disk makes of the rights that were asked for.
        let made = KeyPair::generate().unwrap().save_new(&path, 0o644);
        let Err(error @ KeyError::NoPermissions { .. }) = made else { panic!("{made:?}") };
        assert!(error.to_string().contains("another disk"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn two_that_make_it_at_once_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| KeyPair::load_or_make(&path).unwrap().0.public()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn what_is_no_key_or_no_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.key");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Readable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            matches!(KeyPair::load_or_make(&path), Err(KeyError::NotAKey { .. })),
            "and it is not replaced"
        );
        assert!(matches!(KeyPair::load(dir.path()), Err(KeyError::NotAKey { .. })));
        assert!(matches!(KeyPair::load(&dir.path().join("absent")), Err(KeyError::File { .. })));
    }

    #[test]
    fn a_key_of_another_program_is_read() {
        // Made with: openssl genpkey -algorithm ed25519
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGEfo2yBnUBClv618CRjIwwV4C8Rzvy9N1JwdvQvXr+W\n-----END PRIVATE KEY-----\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.key");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
            .write_all(pem.as_bytes())
            .unwrap();
        let key = KeyPair::load(&path).unwrap();
        assert_eq!(*key.to_pem(), pem);
    }
}
