//! Names of users, groups and files, and the labels under which they are shown.
//!
//! **Invariant:** a name can be printed, split off a command line and used as one path component
//! without further checks.

use std::fmt;
use std::str::FromStr;

use super::escape::is_unsafe;
use super::limits::{FILE_NAME_LEN_MAX, LABEL_LEN_MAX, NAME_LEN_MAX};

/// Says why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the {what} is empty; give at least one character")]
    Empty {
        /// Which kind of name.
        what: &'static str,
    },
    /// More bytes than the limit.
    #[error("the {what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// Which kind of name.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The most allowed.
        max: usize,
    },
    /// A character that may not stand there.
    #[error("the {what} may not contain {character:?}{hint}")]
    BadCharacter {
        /// Which kind of name.
        what: &'static str,
        /// The first offending character.
        character: char,
        /// What is allowed instead, as the end of the sentence.
        hint: &'static str,
    },
    /// A name that some system gives another meaning.
    #[error("the {what} {name:?} is reserved; choose another")]
    Reserved {
        /// Which kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
    },
}

/// Defines one validated name type around a string.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type!(
    /// A user's name: 1-64 of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    UserName,
    |text| check_plain("user name", text)
);
name_type!(
    /// A group's name: 1-64 of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    GroupName,
    |text| check_plain("group name", text)
);
name_type!(
    /// A file's name: 1-255 bytes of UTF-8, one path component that every common system accepts.
    FileName,
    check_file_name
);
name_type!(
    /// The name under which something is shown and addressed: a name, or `name~2` where two exist.
    Label,
    check_label
);

name_type!(
    /// What people call a device, as its host name: 1-64 bytes of UTF-8 that can be printed.
    DeviceName,
    check_device_name
);

impl DeviceName {
    /// The name that a text comes nearest to: characters that may not stand there are left out.
    /// A text without any other gives `device`.
    pub fn from_text(text: &str) -> Self {
        let allowed = text.trim().chars().filter(|&c| !is_unsafe(c));
        let mut name = String::new();
        for character in allowed {
            if name.len() + character.len_utf8() > NAME_LEN_MAX {
                break;
            }
            name.push(character);
        }
        name.parse().unwrap_or_else(|_| Self("device".into()))
    }
}

impl FileName {
    /// Tells whether it holds characters that turn around how the others are shown, so that it
    /// looks like another name. Nobody is offered such a file; a name that exists is a name, and is
    /// escaped where it is shown.
    pub fn turns_text(&self) -> bool {
        self.0.contains(turns_text)
    }

    /// The name with `_` in the place of each of these characters: as it is written on a disk,
    /// where others will show it.
    pub fn straight(&self) -> Self {
        Self(self.0.replace(turns_text, "_").into())
    }

    /// The name as every file system takes it: letters, digits and a few other characters stay, `_`
    /// stands for each of the rest, and a long one is cut in front of its extension.
    pub fn safe(&self) -> Self {
        let is_safe =
            |character: char| character.is_alphanumeric() || " ._-+,()[]{}=@~".contains(character);
        let mut name: String = self
            .0
            .chars()
            .map(|character| if is_safe(character) { character } else { '_' })
            .collect();
        // Systems that know these names by themselves do so whatever the extension is.
        let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
        let is_port = (stem.starts_with("COM") || stem.starts_with("LPT")) && stem.len() == 4;
        if is_port || ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) {
            name.insert(0, '_');
        }
        if name.len() > SAFE_LEN_MAX {
            let extension = name.rfind('.').map_or("", |at| &name[at..]);
            let extension = if extension.len() <= EXTENSION_LEN_MAX { extension } else { "" };
            let kept = name.floor_char_boundary(SAFE_LEN_MAX - extension.len());
            name = format!("{}{extension}", &name[..kept]);
        }
        // Some systems drop these at the end, so that two names become one.
        let end = name.trim_end_matches(['.', ' ']).len();
        name.replace_range(end.., &"_".repeat(name.len() - end));
        Self(name.into())
    }
}

/// Bytes in a safe name, so that file systems that encrypt names take it with `.part` behind.
const SAFE_LEN_MAX: usize = 120;
/// Bytes in an extension that is kept when a name is cut.
const EXTENSION_LEN_MAX: usize = 16;

/// Tells the characters that embed, override or isolate a direction.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Label {
    /// Makes the label of the `ordinal`-th bearer (counted from 1) of `name`.
    pub fn new(name: &str, ordinal: usize) -> Self {
        match ordinal {
            0 | 1 => Self(name.into()),
            n => Self(format!("{name}~{n}").into()),
        }
    }
}

fn check_len(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        len if len > max => Err(NameError::TooLong { what, len, max }),
        _ => Ok(()),
    }
}

fn check_plain(what: &'static str, text: &str) -> Result<(), NameError> {
    check_len(what, text, NAME_LEN_MAX)?;
    let hint = "; letters, digits, '.', '_' and '-' are allowed";
    if let Some(character) =
        text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
    {
        return Err(NameError::BadCharacter { what, character, hint });
    }
    match text.chars().next() {
        Some(character @ ('.' | '-')) => {
            Err(NameError::BadCharacter { what, character, hint: " at its start" })
        }
        _ => Ok(()),
    }
}

fn check_device_name(text: &str) -> Result<(), NameError> {
    let what = "device name";
    check_len(what, text, NAME_LEN_MAX)?;
    match text.chars().find(|&c| is_unsafe(c)) {
        Some(character) => {
            Err(NameError::BadCharacter { what, character, hint: "; it must be printable" })
        }
        None => Ok(()),
    }
}

fn check_file_name(text: &str) -> Result<(), NameError> {
    let what = "file name";
    check_len(what, text, FILE_NAME_LEN_MAX)?;
    check_characters(what, text)?;
    let reserved = || NameError::Reserved { what, name: text.to_owned() };
    if text == "." || text == ".." || is_windows_device(text) {
        return Err(reserved());
    }
    // Windows drops a trailing dot or space, so that two names of ours would be one file there.
    if text.ends_with(['.', ' ']) {
        return Err(reserved());
    }
    Ok(())
}

fn check_characters(what: &'static str, text: &str) -> Result<(), NameError> {
    let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{2028}' | '\u{2029}');
    match text.chars().find(|&c| forbidden(c)) {
        Some(character) => Err(NameError::BadCharacter {
            what,
            character,
            hint: "; it must be one plain path component",
        }),
        None => Ok(()),
    }
}

/// Tells a name that Windows takes for a device, with or without an extension.
fn is_windows_device(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or(text).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9")
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

fn check_label(text: &str) -> Result<(), NameError> {
    check_len("name", text, LABEL_LEN_MAX)?;
    check_characters("name", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names() {
        for good in ["nik", "a", "A.b_c-9", "_x", &"n".repeat(64)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a b", "a/b", "nik~2", "é", "a\0", &"n".repeat(65)] {
            assert!(bad.parse::<GroupName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn file_names() {
        for good in ["a", "über uns.pdf", "...x", "x~2", &"f".repeat(255), "console.txt", "COM10"]
        {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        let long = "ü".repeat(128);
        for bad in [
            "", ".", "..", "a/b", "a\\b", "a\nb", "a\0", "\u{7f}", "CON", "nul.txt", "com1", "x.",
            "x ", &long,
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn control_characters_make_no_file_name_and_no_label() {
        for character in
            ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}').chain(['\u{2028}', '\u{2029}', '/', '\\'])
        {
            let text = format!("a{character}b");
            assert!(
                text.parse::<FileName>().is_err() && text.parse::<Label>().is_err(),
                "{character:?}"
            );
        }
    }

    #[test]
    fn names_that_turn_text_around_are_told_and_made_straight() {
        let turned: FileName = "a\u{202e}gpj.\u{2066}exe".parse().unwrap();
        assert!(turned.turns_text());
        assert_eq!(turned.straight().as_str(), "a_gpj._exe");
        for good in ["über uns.pdf", "\u{627}\u{628}\u{200c}.txt", "\u{1f469}\u{200d}\u{1f4bb}"] {
            let name: FileName = good.parse().unwrap();
            assert!(!name.turns_text() && name.straight() == name, "{good}");
        }
    }

    #[test]
    fn a_safe_name_is_one_for_every_file_system() {
        let safe = |name: &str| name.parse::<FileName>().unwrap().safe().as_str().to_owned();
        for (name, want) in [
            ("a:b?c", "a_b_c"),
            ("Größe <1> \"x\" | *.txt", "Größe _1_ _x_ _ _.txt"),
            ("back\\slash", "back_slash"),
            ("ends with. .", "ends with___"),
            ("aux.txt", "_aux.txt"),
            ("com7", "_com7"),
            ("comet.txt", "comet.txt"),
            ("\u{1fae0}.jpg", "_.jpg"),
            ("(1) [x] {y} a+b=c,d@e~f-g_h.tar.gz", "(1) [x] {y} a+b=c,d@e~f-g_h.tar.gz"),
        ] {
            if name.parse::<FileName>().is_ok() {
                assert_eq!(safe(name), want);
            }
        }
        let long = safe(&format!("{}.jpeg", "ü".repeat(120)));
        assert!(long.len() <= SAFE_LEN_MAX && long.ends_with("ü.jpeg"), "{long}");
        assert_eq!(safe(&long), long);
        assert!(safe(&format!("a.{}", "b".repeat(200))).len() <= SAFE_LEN_MAX);
    }

    #[test]
    fn labels_number_from_two() {
        assert_eq!(Label::new("nik", 1).as_str(), "nik");
        assert_eq!(Label::new("nik", 2).as_str(), "nik~2");
    }
}
