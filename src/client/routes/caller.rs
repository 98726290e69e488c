//! Who makes a request, and what that caller may do.

use std::path::{Path, PathBuf};

use super::paths::Paths;
use crate::client::api::{ApiError, Command, ErrorCode};
use crate::http::access::Rights;

/// The caller of a route.
pub(crate) trait Caller {
    /// What the caller may do.
    fn rights(&self) -> Rights;

    /// Tells whether the caller still has these rights. Long answers ask again and again.
    fn is_valid(&self) -> bool;

    /// The directories in which the caller may read and write; `None` for all.
    fn directories(&self) -> Option<&[PathBuf]>;
}

/// The owner of the data directory.
pub(crate) struct Owner;

impl Caller for Owner {
    fn rights(&self) -> Rights {
        Rights::Manage
    }

    fn is_valid(&self) -> bool {
        true
    }

    fn directories(&self) -> Option<&[PathBuf]> {
        None
    }
}

/// Checks that the caller may carry out a command, and names its paths without links.
///
/// # Errors
/// [`ErrorCode::NotAllowed`], [`ErrorCode::Path`] for a path that does not exist or whose file
/// system does not answer, and [`ErrorCode::Crowded`].
///
/// # Blocking
/// On the file system of the command's path, for a moment.
pub(super) fn check(
    caller: &dyn Caller,
    mut command: Command,
    paths: &Paths,
) -> Result<Command, ApiError> {
    if command.needs() > caller.rights() {
        let text = "this token may look and change nothing; the command needs one that may manage";
        return Err(ApiError::new(ErrorCode::NotAllowed, text));
    }
    if let (Some(allowed), Some(path)) = (caller.directories(), command.path_mut()) {
        let (wanted, allowed) = (path.clone(), allowed.to_vec());
        *path = paths.look(path, move || resolve(&wanted, &allowed))??;
    }
    Ok(command)
}

/// The path without links, if it lies in an allowed directory. Its last component need not exist.
///
/// # Errors
/// [`ErrorCode::NotAllowed`], [`ErrorCode::Path`].
///
/// # Blocking
/// On the path's file system.
pub(super) fn resolve(path: &Path, allowed: &[PathBuf]) -> Result<PathBuf, ApiError> {
    let refused = || {
        let text = format!(
            "{} is in no directory that the page may use; --page-directory names more",
            path.display()
        );
        ApiError::new(ErrorCode::NotAllowed, text)
    };
    let wrong = |error: std::io::Error| {
        ApiError::new(ErrorCode::Path, format!("{}: {error}", path.display()))
    };
    if !path.is_absolute() {
        let text = format!("{} is no absolute path", path.display());
        return Err(ApiError::new(ErrorCode::Path, text));
    }
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A link that leads nowhere may lead outside later.
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(refused());
            };
            if path.symlink_metadata().is_ok() {
                return Err(refused());
            }
            match parent.canonicalize() {
                Ok(parent) => parent.join(name),
                Err(_) if !allowed.iter().any(|dir| path.starts_with(dir)) => return Err(refused()),
                Err(error) => return Err(wrong(error)),
            }
        }
        // What lies outside is not told apart.
        Err(_) if !allowed.iter().any(|dir| path.starts_with(dir)) => return Err(refused()),
        Err(error) => return Err(wrong(error)),
    };
    if allowed.iter().any(|dir| real.starts_with(dir)) { Ok(real) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_resolved_before_it_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (home, other) = (root.join("home"), root.join("homes"));
        for dir in [&home, &other] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("file"), "x").unwrap();
        }
        symlink(&other, home.join("out")).unwrap();
        symlink(root.join("nowhere"), home.join("dangling")).unwrap();
        symlink(home.join("file"), home.join("inside")).unwrap();
        let allowed = [home.clone()];
        let code = |path: PathBuf| resolve(&path, &allowed).map_err(|error| error.code);
        assert_eq!(code(home.join("file")), Ok(home.join("file")));
        assert_eq!(code(home.join("new")), Ok(home.join("new")));
        assert_eq!(code(home.join("inside")), Ok(home.join("file")));
        assert_eq!(code(home.join("../home/file")), Ok(home.join("file")));
        assert_eq!(code(home.join("no/new")), Err(ErrorCode::Path));
        assert_eq!(code("file".into()), Err(ErrorCode::Path));
        for outside in [
            other.join("file"),
            other.join("new"),
            home.join("out"),
            home.join("out/file"),
            home.join("out/new"),
            home.join("dangling"),
            home.join("../homes/file"),
            home.join(".."),
            "/".into(),
            "/no/such/path".into(),
        ] {
            assert_eq!(code(outside.clone()), Err(ErrorCode::NotAllowed), "{outside:?}");
        }
    }
}
