//! `PUT drops`: stores a file that was dropped into the page, and shares it.
//!
//! **Invariant:** a file that did not arrive whole leaves nothing behind, and nothing is overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Routes;
use super::answer::{answer, fail, refuse_body};
use super::caller::{Caller, resolve};
use super::paths::Paths;
use crate::client::api::{ApiError, Command, ErrorCode};
use crate::http::{BodyError, Request, Responder, StatusCode};
use crate::types::FileName;

/// Why a file was not stored.
enum NotStored {
    Failed(ApiError),
    Body(BodyError),
}

impl Routes {
    pub(super) fn drop_file(
        &self,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        caller: &dyn Caller,
    ) -> io::Result<()> {
        let _slot = match self.paths.admit(caller.directories().is_some()) {
            Ok(slot) => slot,
            Err(error) => return fail(responder, &error),
        };
        let path = match store(request, caller, &self.paths) {
            Ok(path) => path,
            Err(NotStored::Failed(error)) => return fail(responder, &error),
            Err(NotStored::Body(error)) => return refuse_body(responder, error),
        };
        let group = request.decoded_parameter("group").unwrap_or_default();
        let watched = self.watch.caller(responder.socket());
        let command = Command::UploadFile { path: path.clone(), group, trust_stamp: false };
        match self.api.call(command, &watched.stop, &mut |_| true) {
            Ok(reply) => answer(responder, StatusCode::CREATED, &reply),
            Err(mut error) => {
                // The user has the file there, and can share it later.
                error.message =
                    format!("{} is stored, but not shared: {}", path.display(), error.message);
                fail(responder, &error)
            }
        }
    }
}

/// Stores the body of a request as a file.
fn store(
    request: &mut Request<'_>,
    caller: &dyn Caller,
    paths: &Paths,
) -> Result<PathBuf, NotStored> {
    let bad = |text: String| NotStored::Failed(ApiError::bad_argument(text));
    let word = |name: &str| {
        request
            .decoded_parameter(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| bad(format!("{name} is missing in the query")))
    };
    let (directory, name) = (PathBuf::from(word("directory")?), word("name")?);
    word("group")?;
    let name = name.parse::<FileName>().map_err(|error| bad(error.to_string()))?;
    let everything = [PathBuf::from("/")];
    let allowed = caller.directories().unwrap_or(&everything).to_vec();
    let wanted = directory.clone();
    let begin = move || {
        let directory = resolve(&wanted, &allowed)?;
        let target = directory.join(name.as_str());
        let is_there = target.symlink_metadata().is_ok();
        let part = if is_there {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            Part::create(&directory)
        };
        Ok((target, part))
    };
    let begun = paths.look(&directory, begin).and_then(|begun| begun);
    let (target, part) = begun.map_err(NotStored::Failed)?;
    let wrong = |error: io::Error| {
        let text = match error.kind() {
            io::ErrorKind::AlreadyExists => "a file of that name is there already".to_owned(),
            _ => format!("cannot store it: {error}"),
        };
        NotStored::Failed(ApiError::new(ErrorCode::Path, format!("{}: {text}", target.display())))
    };
    let part = part.map_err(wrong)?;
    let (mut bytes, mut len) = (Vec::new(), 0);
    let expected = request.body_len();
    while request.next_part(&mut bytes).map_err(NotStored::Body)? {
        len += bytes.len() as u64;
        (&part.file).write_all(&bytes).map_err(wrong)?;
    }
    if expected.is_some_and(|expected| expected != len) {
        return Err(wrong(io::ErrorKind::UnexpectedEof.into()));
    }
    part.file.sync_all().map_err(wrong)?;
    part.publish(&target).map_err(wrong)?;
    Ok(target)
}

/// A file that is being stored; dropping it removes the file.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!(".posse-drop-{:016x}", rand::random::<u64>()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    /// Gives the file its name, which must be free.
    fn publish(self, target: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A file that stays is hidden, and nobody offers it.
        let _ = fs::remove_file(&self.path);
    }
}
