//! Which of the two words of `upload_file` is the path, and which the group.
//!
//! **Invariant:** a word that names a group of the user's, where the other does not, is the group;
//! what files are in the current directory only decides between words that are equal in that. A
//! word with a `/` names no group, so the file system need not be asked, which may hang.
//!
//! Pure.

use crate::client::api::ApiError;

/// What is known of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// It names a file.
    pub(super) is_file: bool,
    /// It names a group of which the user is a member.
    pub(super) is_group: bool,
}

/// Returns the path and the group where the words alone tell: exactly one can only be a path.
pub(super) fn by_words<'a>(first: &'a str, second: &'a str) -> Option<(&'a str, &'a str)> {
    let is_path = |word: &str| word.contains('/');
    match (is_path(first), is_path(second)) {
        (true, false) => Some((first, second)),
        (false, true) => Some((second, first)),
        _ => None,
    }
}

/// Returns the path and the group.
///
/// # Errors
/// [`ApiError::bad_argument`] with both readings if either may be meant.
pub(super) fn path_and_group<'a>(
    first: Word<'a>,
    second: Word<'a>,
) -> Result<(&'a str, &'a str), ApiError> {
    let (typed, swapped) = ((first.text, second.text), (second.text, first.text));
    match (first.is_group, second.is_group, first.is_file, second.is_file) {
        (false, true, ..) => Ok(typed),
        (true, false, ..) => Ok(swapped),
        (true, true, false, true) => Ok(swapped),
        (true, true, true, true) => Err(either(first.text, second.text)),
        (false, false, false, true) => Err(neither(first.text, second.text)),
        _ => Ok(typed),
    }
}

fn either(first: &str, second: &str) -> ApiError {
    let reading = |path: &str, group: &str| {
        let command = shell_words::join(["upload_file", &format!("./{path}"), group]);
        format!("`{command}` shares the file {path} with the group {group}")
    };
    ApiError::bad_argument(format!(
        "{first} and {second} are both files and groups of yours: {}, {}",
        reading(first, second),
        reading(second, first)
    ))
}

fn neither(first: &str, second: &str) -> ApiError {
    ApiError::bad_argument(format!(
        "neither word names a group of yours: there is no file {first} to share with a group {second}, \
         and no group {first} with which to share the file {second}; list_my_groups shows your groups"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads two words, `-`, `f`, `g` or `fg` by what they name.
    fn read(first: &str, second: &str) -> String {
        let word = |text, kind: &str| Word {
            text,
            is_file: kind.contains('f'),
            is_group: kind.contains('g'),
        };
        match path_and_group(word("one", first), word("two", second)) {
            Ok(("one", "two")) => "typed".into(),
            Ok(_) => "swapped".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_word_that_can_be_no_group_is_the_path() {
        for path in ["/mnt/a", "./a", "~/a", "a/b", "a/"] {
            assert_eq!(by_words(path, "lab"), Some((path, "lab")));
            assert_eq!(by_words("lab", path), Some((path, "lab")));
            assert_eq!(by_words(path, "./lab"), None, "neither is a group");
            assert!(path.parse::<crate::types::GroupName>().is_err(), "{path}");
        }
        assert_eq!(by_words("a", "lab"), None);
    }

    #[test]
    fn the_group_decides() {
        for kind in ["-", "f"] {
            for group in ["g", "fg"] {
                assert_eq!(read(kind, group), "typed", "{kind} {group}");
                assert_eq!(read(group, kind), "swapped", "{group} {kind}");
            }
        }
    }

    #[test]
    fn of_two_groups_the_file_is_the_path() {
        assert_eq!(read("fg", "g"), "typed");
        assert_eq!(read("g", "fg"), "swapped");
        assert_eq!(read("g", "g"), "typed");
    }

    #[test]
    fn in_doubt_both_readings_are_told() {
        let both = read("fg", "fg");
        for command in ["`upload_file ./one two`", "`upload_file ./two one`"] {
            assert!(both.contains(command), "{both}");
        }
        assert!(read("-", "f").contains("no file one"), "{}", read("-", "f"));
        for (first, second) in [("f", "-"), ("f", "f"), ("-", "-")] {
            assert_eq!(read(first, second), "typed");
        }
    }
}
