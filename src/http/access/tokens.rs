//! Tokens, kept in a file of the data directory.
//!
//! **Invariant:** the file (0600) is complete or missing: it is written under another name and
//! renamed. A change counts once the file is in place, and that is on the disk.
//!
//! The file is JSON with a version. A later version is refused with a message, not overwritten.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rights, SecretHash, hash, now_ms, secret};

/// Name of the file in the data directory.
const FILE: &str = "tokens.json";
/// Version of its format.
const VERSION: u64 = 1;
/// Maximum length of the file in bytes.
const LEN_MAX: u64 = 1 << 20;
/// Maximum number of tokens.
pub const TOKENS_MAX: usize = 100;
/// Maximum length of a token's name in bytes.
pub const NAME_LEN_MAX: usize = 64;
/// Days for which the token of a page is valid.
pub const PAGE_TOKEN_DAYS: u32 = 90;
/// The beginning of every token, by which programs that search for leaked secrets find it.
const PREFIX: &str = "posse_";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A token's last use is written down at this interval.
const USED_INTERVAL_MS: u64 = DAY_MS;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenEntry {
    /// Names the token; hexadecimal.
    pub token_id: String,
    /// Its name for people.
    pub name: String,
    /// What its holder may do.
    pub rights: Rights,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends; `None` for never.
    pub expires_ms: Option<u64>,
    /// When it was last used.
    pub last_used_ms: Option<u64>,
}

/// A new token, with the secret, which is shown once.
#[derive(Debug)]
pub struct NewToken {
    /// The secret.
    pub secret: String,
    /// The rest.
    pub entry: TokenEntry,
}

/// Why a change of the tokens was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is empty, too long, has control characters, or is taken.
    #[error(
        "a token's name has 1 to {NAME_LEN_MAX} bytes and no control characters, does not begin with \
         \"page \", and is no other token's name or id"
    )]
    BadName,
    /// There are as many tokens as there may be.
    #[error("there are {TOKENS_MAX} tokens already; revoke one that is not used any more")]
    TooMany,
    /// No token has that name or id.
    #[error("there is no token {0:?}; `tokens` lists them")]
    Unknown(String),
    /// The file cannot be read or written.
    #[error("{}: cannot use the tokens: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// Hexadecimal.
    hash: String,
    #[serde(flatten)]
    entry: TokenEntry,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u64,
    tokens: Vec<Kept>,
}

/// The tokens of one data directory. Its lock keeps other programs out.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    kept: Mutex<Vec<(SecretHash, TokenEntry)>>,
    /// Held while the file is written, so that changes are written in order.
    writing: Mutex<()>,
}

impl Tokens {
    /// Reads the tokens of a data directory.
    ///
    /// # Errors
    /// [`TokenError::File`] for a file that is damaged, or was made by a later version.
    pub fn open(data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(FILE);
        let kept = read(&path).map_err(|source| TokenError::File { path: path.clone(), source })?;
        Ok(Self { path, kept: Mutex::new(kept), writing: Mutex::default() })
    }

    /// The data directory.
    pub(super) fn data_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The tokens, oldest first; those that have expired are left out.
    pub fn list(&self) -> Vec<TokenEntry> {
        let now = now_ms();
        let kept = self.kept.lock();
        kept.iter().map(|(_, entry)| entry).filter(|e| is_valid(e, now)).cloned().collect()
    }

    /// Creates a token, for `days` and until `until_ms` at the latest, if these are given.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// # Blocking
    /// On the disk.
    pub fn create(
        &self,
        name: &str,
        rights: Rights,
        days: Option<u32>,
        until_ms: Option<u64>,
    ) -> Result<NewToken, TokenError> {
        let is_name = (1..=NAME_LEN_MAX).contains(&name.len())
            && !name.contains(char::is_control)
            && !name.starts_with(PAGE_NAME);
        if !is_name {
            return Err(TokenError::BadName);
        }
        self.add(name.to_owned(), rights, days, until_ms)
    }

    /// Creates the token of a page. If there is no room, it replaces the page token that was used
    /// least recently.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// # Blocking
    /// On the disk.
    pub fn create_for_page(&self, until_ms: Option<u64>) -> Result<NewToken, TokenError> {
        let id = secret::<4>().map_err(|source| self.failed(source))?;
        self.add(format!("{PAGE_NAME}{id}"), Rights::Manage, Some(PAGE_TOKEN_DAYS), until_ms)
    }

    fn add(
        &self,
        name: String,
        rights: Rights,
        days: Option<u32>,
        until_ms: Option<u64>,
    ) -> Result<NewToken, TokenError> {
        let system = |source| self.failed(source);
        let secret = format!("{PREFIX}{}", secret::<32>().map_err(system)?);
        let now = now_ms();
        let own_end = days.map(|days| now.saturating_add(u64::from(days) * DAY_MS));
        let entry = TokenEntry {
            token_id: super::secret::<8>().map_err(system)?,
            name,
            rights,
            created_ms: now,
            expires_ms: own_end.into_iter().chain(until_ms).min(),
            last_used_ms: None,
        };
        let new = (hash(&secret), entry.clone());
        self.change(|kept| {
            kept.retain(|(_, entry)| is_valid(entry, now));
            if kept.iter().any(|(_, e)| e.name == new.1.name || e.token_id == new.1.name) {
                return Err(TokenError::BadName);
            }
            if kept.len() >= TOKENS_MAX {
                let pages = kept.iter().filter(|(_, entry)| is_of_page(entry));
                let oldest = pages.min_by_key(|(_, e)| e.last_used_ms.unwrap_or(e.created_ms));
                let id = oldest.map(|(_, e)| e.token_id.clone()).ok_or(TokenError::TooMany)?;
                kept.retain(|(_, entry)| entry.token_id != id);
            }
            kept.push(new);
            Ok(())
        })?;
        Ok(NewToken { secret, entry })
    }

    /// Revokes the token of that name or id, and returns it.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// # Blocking
    /// On the disk.
    pub fn revoke(&self, text: &str) -> Result<TokenEntry, TokenError> {
        self.change(|kept| {
            // An id is one token's, whatever another is called.
            let by_id = kept.iter().position(|(_, entry)| entry.token_id == text);
            let at = by_id.or_else(|| kept.iter().position(|(_, entry)| entry.name == text));
            let at = at.ok_or_else(|| TokenError::Unknown(text.to_owned()))?;
            Ok(kept.remove(at).1)
        })
    }

    /// Revokes the tokens of pages, and returns how many there were.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// # Blocking
    /// On the disk.
    pub fn revoke_pages(&self) -> Result<usize, TokenError> {
        if !self.list().iter().any(is_of_page) {
            return Ok(0);
        }
        self.change(|kept| {
            let before = kept.len();
            kept.retain(|(_, entry)| !is_of_page(entry));
            Ok(before - kept.len())
        })
    }

    /// Finds the valid token with that secret, and notes its use.
    ///
    /// # Blocking
    /// Once a day on the disk.
    pub fn authorize(&self, secret: &str) -> Option<TokenEntry> {
        let (hash, now) = (hash(secret), now_ms());
        let (entry, is_due) = {
            let mut kept = self.kept.lock();
            let (_, entry) = kept.iter_mut().find(|(of, e)| *of == hash && is_valid(e, now))?;
            let before = entry.last_used_ms.replace(now);
            (entry.clone(), before.is_none_or(|at| now.saturating_sub(at) > USED_INTERVAL_MS))
        };
        if is_due && let Err(error) = self.change(|_| Ok(())) {
            log::debug!("the last use of a token is not written down: {error}");
        }
        Some(entry)
    }

    /// Tells whether a token is still valid.
    pub fn is_valid(&self, token_id: &str) -> bool {
        let now = now_ms();
        self.kept.lock().iter().any(|(_, e)| e.token_id == token_id && is_valid(e, now))
    }

    /// Changes the tokens: in the file first, then in memory.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<(SecretHash, TokenEntry)>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let _writing = self.writing.lock();
        let mut kept = self.kept.lock().clone();
        let result = change(&mut kept)?;
        write(&self.path, &kept).map_err(|source| self.failed(source))?;
        *self.kept.lock() = kept;
        Ok(result)
    }

    fn failed(&self, source: io::Error) -> TokenError {
        TokenError::File { path: self.path.clone(), source }
    }
}

/// The beginning of the names of pages' tokens.
const PAGE_NAME: &str = "page ";

fn is_of_page(entry: &TokenEntry) -> bool {
    entry.name.starts_with(PAGE_NAME)
}

fn is_valid(entry: &TokenEntry, now_ms: u64) -> bool {
    entry.expires_ms.is_none_or(|end| now_ms < end)
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn read(path: &Path) -> io::Result<Vec<(SecretHash, TokenEntry)>> {
    match fs::metadata(path) {
        Ok(facts) if facts.len() > LEN_MAX => return Err(invalid("the file is too long")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let value: serde_json::Value = serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| invalid(format!("the file is damaged: {error}")))?;
    if value["version"].as_u64().is_some_and(|version| version > VERSION) {
        return Err(invalid("the file was made by a later version of Posse; update this program"));
    }
    let contents: Contents = serde_json::from_value(value)
        .map_err(|error| invalid(format!("the file is damaged: {error}")))?;
    let token = |kept: Kept| {
        let bytes = HEXLOWER_PERMISSIVE.decode(kept.hash.as_bytes()).ok();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.map(|hash| (hash, kept.entry)).ok_or_else(|| invalid("the file is damaged"))
    };
    contents.tokens.into_iter().map(token).collect()
}

fn write(path: &Path, kept: &[(SecretHash, TokenEntry)]) -> io::Result<()> {
    let token = |(hash, entry): &(SecretHash, TokenEntry)| Kept {
        hash: HEXLOWER.encode(hash),
        entry: entry.clone(),
    };
    let contents = Contents { version: VERSION, tokens: kept.iter().map(token).collect() };
    let new = path.with_extension("json.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    serde_json::to_writer_pretty(&mut file, &contents)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // A revocation is to survive a power cut.
    fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
