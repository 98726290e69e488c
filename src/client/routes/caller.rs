//! Who makes a request, and what that caller may do.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::paths::Paths;
use crate::client::api::{ApiError, Command, ErrorCode};
use crate::http::access::Rights;
use crate::types::FileName;

/// Tells whether a caller still has its rights. Does not block.
pub(crate) type Validity = Arc<dyn Fn() -> bool + Send + Sync>;

/// The caller of a route.
pub(crate) trait Caller {
    /// What the caller may do.
    fn rights(&self) -> Rights;

    /// Tells whether the caller still has these rights. Long answers ask again and again.
    fn is_valid(&self) -> bool {
        self.validity()()
    }

    /// Tells the same later, to another thread.
    fn validity(&self) -> Validity;

    /// When the caller's rights end, in milliseconds since 1970; `None` for never.
    fn expires_ms(&self) -> Option<u64>;

    /// Where the caller may read and write; `None` for everywhere.
    fn directories(&self) -> Option<&Directories>;
}

/// Where the holders of tokens may read and write: in some directories, but not in what is hidden
/// there, nor in those where keys and stores are. All paths are without links.
#[derive(Clone)]
pub(crate) struct Directories {
    roots: Vec<PathBuf>,
    private: Vec<PathBuf>,
}

impl Directories {
    pub(crate) fn new(roots: Vec<PathBuf>, private: Vec<PathBuf>) -> Self {
        Self { roots, private }
    }

    /// The directories themselves.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Tells whether a path without links may be used.
    pub(super) fn permit(&self, real: &Path) -> bool {
        let is_within = |root: &PathBuf| {
            real.strip_prefix(root).is_ok_and(|below| !below.iter().any(is_hidden))
        };
        self.roots.iter().any(is_within) && !self.private.iter().any(|dir| real.starts_with(dir))
    }
}

/// Tells whether a name is one of those that listings leave out.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// The owner of the data directory.
pub(crate) struct Owner;

impl Caller for Owner {
    fn rights(&self) -> Rights {
        Rights::Manage
    }

    fn validity(&self) -> Validity {
        Arc::new(|| true)
    }

    fn expires_ms(&self) -> Option<u64> {
        None
    }

    fn directories(&self) -> Option<&Directories> {
        None
    }
}

/// Checks that the caller may carry out a command, and resolves links in its paths. A token or link
/// that the command makes expires no later than the caller's token.
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
    if let (Some(end), Some(until)) = (caller.expires_ms(), command.until_mut()) {
        *until = Some(until.map_or(end, |until| until.min(end)));
    }
    let Some(allowed) = caller.directories() else { return Ok(command) };
    let file = match &command {
        Command::DownloadFile { file, .. } => Some(file.clone()),
        _ => None,
    };
    if let Some(path) = command.path_mut() {
        let (wanted, allowed) = (path.clone(), allowed.clone());
        let look = move || {
            let real = resolve(&wanted, Some(&allowed))?;
            match file.filter(|_| real.is_dir()) {
                Some(file) => named_in(&real, &file, &allowed).map(|()| real),
                None => Ok(real),
            }
        };
        *path = paths.look(path, look)??;
    }
    if let Command::UploadFile { is_resolved, .. } = &mut command {
        *is_resolved = true;
    }
    Ok(command)
}

/// Checks the name that a file gets in a directory: there it is what the group calls the file.
fn named_in(directory: &Path, file: &str, allowed: &Directories) -> Result<(), ApiError> {
    let name = file.parse::<FileName>().map_err(|error| {
        ApiError::bad_argument(format!("{error}; name a file, not a directory, to save it as"))
    })?;
    let path = directory.join(name.as_str());
    if allowed.permit(&path) { Ok(()) } else { Err(refused(&path)) }
}

pub(super) fn refused(path: &Path) -> ApiError {
    let text = format!(
        "{} is in no directory that the page may use, or is hidden; --page-directory names more",
        path.display()
    );
    ApiError::new(ErrorCode::NotAllowed, text)
}

/// The path without links, if it may be used. Its last component need not exist.
///
/// # Errors
/// [`ErrorCode::NotAllowed`], [`ErrorCode::Path`].
///
/// # Blocking
/// On the path's file system.
pub(super) fn resolve(path: &Path, allowed: Option<&Directories>) -> Result<PathBuf, ApiError> {
    let refused = || refused(path);
    let wrong = |error: std::io::Error| {
        ApiError::new(ErrorCode::Path, format!("{}: {error}", path.display()))
    };
    let permit = |real: &Path| allowed.is_none_or(|allowed| allowed.permit(real));
    if !path.is_absolute() {
        let text = format!("{} is no absolute path", path.display());
        return Err(ApiError::new(ErrorCode::Path, text));
    }
    // `..` could lead out and back in, and so show which directories exist.
    if allowed.is_some() && path.components().any(|part| part == Component::ParentDir) {
        return Err(refused());
    }
    let real = match path.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A link that leads nowhere may lead outside later.
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(refused());
            };
            if path.symlink_metadata().is_ok() {
                return Err(refused());
            }
            parent.canonicalize().map(|parent| parent.join(name))
        }
        Err(error) => Err(error),
    };
    match real {
        Ok(real) if permit(&real) => Ok(real),
        Ok(_) => Err(refused()),
        // Outside the roots all errors look the same. The nearest existing parent decides.
        Err(error) => {
            let there = path.ancestors().skip(1).find_map(|dir| dir.canonicalize().ok());
            Err(if there.is_some_and(|dir| permit(&dir)) { wrong(error) } else { refused() })
        }
    }
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
        let private = home.join("data");
        for dir in [&private, &home.join(".ssh"), &home.join("sub")] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("file"), "x").unwrap();
        }
        std::fs::write(home.join(".profile"), "x").unwrap();
        symlink(&private, home.join("to data")).unwrap();
        symlink(home.join(".profile"), home.join("to hidden")).unwrap();
        let allowed = Directories::new(vec![home.clone()], vec![private.clone()]);
        let code = |path: PathBuf| resolve(&path, Some(&allowed)).map_err(|error| error.code);
        assert_eq!(code(home.join("file")), Ok(home.join("file")));
        assert_eq!(code(home.join("new")), Ok(home.join("new")));
        assert_eq!(code(home.join("inside")), Ok(home.join("file")));
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
            // Neither of these tells whether the directory exists.
            home.join("../homes/../home/file"),
            home.join("../none/../home/file"),
            home.join("sub/../file"),
            home.join("out/none/file"),
            home.join("to data/none/file"),
            home.join(".."),
            private.clone(),
            private.join("file"),
            private.join("new"),
            home.join("to data/file"),
            home.join("to hidden"),
            home.join(".profile"),
            home.join(".new"),
            home.join(".ssh/file"),
            home.join(".ssh/new"),
            home.join("sub/.new"),
            "/".into(),
            "/no/such/path".into(),
        ] {
            assert_eq!(code(outside.clone()), Err(ErrorCode::NotAllowed), "{outside:?}");
        }
        // A directory that the user names may be hidden itself.
        let hidden = Directories::new(vec![home.join(".ssh")], Vec::new());
        assert!(resolve(&home.join(".ssh/file"), Some(&hidden)).is_ok());
        assert!(resolve(&home.join(".ssh/.file"), Some(&hidden)).is_err());
        assert!(resolve(&home.join(".profile"), None).is_ok(), "the owner may");
    }
}
