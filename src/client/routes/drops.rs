//! `PUT drops`: stores a file that was dropped into the page, and shares it.
//!
//! **Invariant:** a file that did not arrive whole leaves nothing behind, and nothing is overwritten.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::Routes;
use super::answer::{answer, fail, refuse_body};
use super::caller::{Caller, refused, resolve};
use super::paths::Paths;
use crate::client::api::{ApiError, Command, ErrorCode};
use crate::files::NewFile;
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
        let watched = self.watch.caller(responder.socket(), caller.validity());
        let command = Command::UploadFile {
            path: path.clone(),
            group,
            trust_stamp: false,
            // It is the file that was stored, or none.
            is_resolved: true,
        };
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
    let (wanted, allowed) = (directory.clone(), caller.directories().cloned());
    let expected = request.body_len();
    let begin = move || {
        let directory = resolve(&wanted, allowed.as_ref())?;
        let target = directory.join(name.as_str());
        if allowed.is_some_and(|allowed| !allowed.permit(&target)) {
            return Err(refused(&target));
        }
        let new = match target.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => NewFile::create(&directory, expected),
        };
        Ok((name, target, new))
    };
    let begun = paths.look(&directory, begin).and_then(|begun| begun);
    let (name, target, new) = begun.map_err(NotStored::Failed)?;
    let wrong = |error: io::Error| {
        let text = match error.kind() {
            io::ErrorKind::AlreadyExists => "a file of that name is there already".to_owned(),
            io::ErrorKind::StorageFull => "there is no room for it on that disk".to_owned(),
            _ => format!("cannot store it: {error}"),
        };
        NotStored::Failed(ApiError::new(ErrorCode::Path, format!("{}: {text}", target.display())))
    };
    let new = new.map_err(wrong)?;
    let check = || match caller.is_valid() {
        true => Ok(()),
        false => {
            Err(NotStored::Failed(ApiError::new(ErrorCode::NotAllowed, "the token has ended")))
        }
    };
    let (mut bytes, mut len) = (Vec::new(), 0);
    while request.next_part(&mut bytes).map_err(NotStored::Body)? {
        check()?;
        len += bytes.len() as u64;
        (&new.file).write_all(&bytes).map_err(wrong)?;
    }
    if expected.is_some_and(|expected| expected != len) {
        return Err(wrong(io::ErrorKind::UnexpectedEof.into()));
    }
    new.file.sync_all().map_err(wrong)?;
    check()?;
    new.publish(name.as_str().as_ref()).map_err(wrong)?;
    Ok(target)
}
