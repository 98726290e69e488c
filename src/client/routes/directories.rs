//! `GET directories`: the directories that a page may use, and what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::Serialize;

use super::Routes;
use super::answer::{answer, fail};
use super::caller::{Caller, Directories, is_hidden, resolve};
use crate::client::api::{ApiError, ErrorCode};
use crate::http::{Request, Responder, StatusCode};

/// Maximum number of entries in one answer: more than anybody looks through.
const ENTRIES_MAX: usize = 5000;

/// A directory.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Directory {
    /// Without links; `None` if none was asked for.
    path: Option<String>,
    /// The directory above it, if the caller may see it.
    parent: Option<String>,
    /// Where the caller may begin.
    roots: Vec<String>,
    /// What is in it: directories first.
    entries: Vec<Entry>,
    /// Entries are missing, because there are too many.
    more: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "DirectoryEntry")]
struct Entry {
    /// Files last.
    #[serde(skip)]
    is_file: bool,
    name: String,
    is_directory: bool,
    size: Option<u64>,
    modified_ms: Option<u64>,
}

impl Routes {
    pub(super) fn directories(
        &self,
        request: &Request<'_>,
        responder: Responder<'_>,
        caller: &dyn Caller,
    ) -> io::Result<()> {
        let path = request.decoded_parameter("path").filter(|path| !path.is_empty());
        let path = path.map(PathBuf::from);
        let (looked_at, allowed) = (path.clone(), caller.directories().cloned());
        let list = move || list(looked_at.as_deref(), allowed.as_ref());
        let listed = self.paths.look(path.as_deref().unwrap_or(Path::new("/")), list);
        match listed.and_then(|listed| listed) {
            Ok(directory) => answer(responder, StatusCode::OK, &directory),
            Err(error) => fail(responder, &error),
        }
    }
}

/// Lists a directory; without a path only the directories where the caller may begin.
fn list(path: Option<&Path>, allowed: Option<&Directories>) -> Result<Directory, ApiError> {
    let everything = [PathBuf::from("/")];
    let roots = allowed.map_or(&everything[..], Directories::roots);
    let roots: Vec<String> = roots.iter().filter_map(|dir| text(dir)).collect();
    let Some(path) = path else {
        return Ok(Directory { path: None, parent: None, roots, entries: Vec::new(), more: false });
    };
    let real = resolve(path, allowed)?;
    let wrong = |error: io::Error| {
        ApiError::new(ErrorCode::Path, format!("{}: cannot list it: {error}", path.display()))
    };
    let (mut entries, mut more) = (Vec::new(), false);
    for entry in fs::read_dir(&real).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // Names that are not UTF-8 cannot be told in JSON; hidden files are not for sharing.
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|_| !is_hidden(&name)) else { continue };
        if entries.len() >= ENTRIES_MAX {
            more = true;
            break;
        }
        // Links are followed, and left out where they lead to nothing or out of the directories.
        let target = real.join(name);
        let Ok(facts) = fs::metadata(&target) else { continue };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let is_permitted = match is_link {
            true => resolve(&target, allowed).is_ok(),
            false => allowed.is_none_or(|allowed| allowed.permit(&target)),
        };
        if !is_permitted {
            continue;
        }
        if !facts.is_dir() && !facts.is_file() {
            continue;
        }
        let modified = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        entries.push(Entry {
            is_file: facts.is_file(),
            name: name.to_owned(),
            is_directory: facts.is_dir(),
            size: facts.is_file().then_some(facts.len()),
            modified_ms: modified.and_then(|at| u64::try_from(at.as_millis()).ok()),
        });
    }
    entries.sort();
    let parent = real.parent().filter(|parent| resolve(parent, allowed).is_ok()).and_then(text);
    Ok(Directory { path: text(&real), parent, roots, entries, more })
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}
