//! The routes of a file of a group: `groups/{group}/files/{file}/...`, with `peers` and `pieces`.

use std::io;

use super::Routes;
use super::answer::{answer, fail};
use crate::client::api::{ApiError, Command, Reply, call};
use crate::http::{Responder, StatusCode, decoded_segment};

/// The names of group and file in a path behind the root that ends with `last`, not decoded; `None`
/// for another route.
pub(super) fn names_in<'a>(path: &'a str, last: &str) -> Option<(&'a str, &'a str)> {
    let (group, rest) = path.strip_prefix("groups/")?.split_once("/files/")?;
    let file = rest.strip_suffix(last)?.strip_suffix('/')?;
    (!group.contains('/') && !file.contains('/')).then_some((group, file))
}

/// The names of a path, decoded.
pub(super) fn decoded((group, file): (&str, &str)) -> Result<(String, String), ApiError> {
    let names = decoded_segment(group).zip(decoded_segment(file));
    names.ok_or_else(|| ApiError::bad_argument("a name in the path is not UTF-8"))
}

impl Routes {
    pub(super) fn peers(&self, names: (&str, &str), responder: Responder<'_>) -> io::Result<()> {
        let command = |(group, file)| Command::ShowPeers { group, file };
        let peers = decoded(names).and_then(|names| call(&*self.api, command(names)));
        match peers.and_then(Reply::peers) {
            Ok(peers) => answer(responder, StatusCode::OK, &peers),
            Err(error) => fail(responder, &error),
        }
    }

    pub(super) fn pieces(&self, names: (&str, &str), responder: Responder<'_>) -> io::Result<()> {
        let command = |(group, file)| Command::ShowPieces { group, file };
        let pieces = decoded(names).and_then(|names| call(&*self.api, command(names)));
        match pieces.and_then(Reply::pieces) {
            Ok(pieces) => answer(responder, StatusCode::OK, &pieces),
            Err(error) => fail(responder, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_group_and_a_file() {
        assert_eq!(names_in("groups/lab/files/a%2Fb/content", "content"), Some(("lab", "a%2Fb")));
        assert_eq!(
            names_in("groups/lab/files/content/content", "content"),
            Some(("lab", "content"))
        );
        assert_eq!(names_in("groups//files//content", "content"), Some(("", "")));
        assert_eq!(names_in("groups/lab/files/a/peers", "peers"), Some(("lab", "a")));
        for path in [
            "groups/lab/files/a/peers",
            "groups/lab/files/a",
            "groups/lab/files/a/b/content",
            "groups/lab/x/files/a/content",
            "groups/lab/files/a/content/",
            "files/a/content",
        ] {
            assert_eq!(names_in(path, "content"), None, "{path}");
        }
    }
}
