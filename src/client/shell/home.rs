//! Paths as people type them.

use std::borrow::Cow;
use std::path::Path;

/// The path that a word names: `~` and `~/...` begin at the user's home directory, as in a shell.
pub(super) fn from_home(word: &str) -> Cow<'_, Path> {
    let rest = if word == "~" { Some("") } else { word.strip_prefix("~/") };
    match (rest, directories::BaseDirs::new()) {
        (Some(rest), Some(dirs)) => Cow::Owned(dirs.home_dir().join(rest)),
        _ => Cow::Borrowed(Path::new(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory_and_only_at_the_start() {
        let home = directories::BaseDirs::new().unwrap().home_dir().to_path_buf();
        assert_eq!(*from_home("~"), *home);
        assert_eq!(*from_home("~/a b"), *home.join("a b"));
        for plain in ["a~", "~nik/x", "/tmp/~", "x/~/y"] {
            assert_eq!(*from_home(plain), *Path::new(plain));
        }
    }
}
