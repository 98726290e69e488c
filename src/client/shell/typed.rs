//! A line that is being typed: the words before the cursor, and how the one at the cursor goes on.
//!
//! **Invariant:** split as a shell does, a completed line has the same words before the cursor, and
//! the name that was chosen behind them. What was typed of it stays as it is: bare, quoted or
//! escaped, the rest is written in the same way.
//!
//! Pure. The rules are those of `shell_words::split`.

/// How the word at the cursor is quoted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// What stands before the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed<'a> {
    /// The words before the one at the cursor.
    pub(super) before: Vec<String>,
    /// What the word at the cursor says so far.
    pub(super) word: String,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// As it was typed, without a backslash that escapes nothing yet.
    raw: &'a str,
    quote: Quote,
}

impl<'a> Typed<'a> {
    /// Reads the line as far as the cursor; `None` if that is in a comment.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        // Of several lines that were pasted, the last is the one at the cursor.
        let from = line.rfind('\n').map_or(0, |at| at + 1);
        let (mut before, mut word) = (Vec::new(), String::new());
        let (mut start, mut is_in_word) = (line.len(), false);
        let mut quote = Quote::None;
        let mut chars = line[from..].char_indices().map(|(at, c)| (from + at, c));
        while let Some((at, character)) = chars.next() {
            if !is_in_word {
                match character {
                    ' ' | '\t' => continue,
                    '#' => return None,
                    _ => (start, is_in_word) = (at, true),
                }
            }
            match (quote, character) {
                (Quote::None, ' ' | '\t') => {
                    before.push(std::mem::take(&mut word));
                    (start, is_in_word) = (line.len(), false);
                }
                (Quote::None, '\'') => quote = Quote::Single,
                (Quote::None, '"') => quote = Quote::Double,
                (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
                (Quote::None | Quote::Double, '\\') => match chars.next() {
                    // Nothing is escaped yet.
                    None => {
                        return Some(Self { before, word, start, raw: &line[start..at], quote });
                    }
                    Some((_, escaped)) => {
                        if quote == Quote::Double && !['$', '`', '"', '\\'].contains(&escaped) {
                            word.push('\\');
                        }
                        word.push(escaped);
                    }
                },
                (_, character) => word.push(character),
            }
        }
        Some(Self { before, word, start, raw: &line[start..], quote })
    }

    /// Writes out a name that begins with [`Typed::word`], or a part of one that others share.
    pub(super) fn extended(&self, name: &str) -> String {
        let rest = name.strip_prefix(self.word.as_str()).unwrap_or_default();
        let mut text = self.raw.to_owned();
        for character in rest.chars() {
            match (self.quote, character) {
                (Quote::None, ' ' | '\t' | '\'' | '"' | '\\') | (Quote::Double, '"' | '\\') => {
                    text.extend(['\\', character]);
                }
                (Quote::None, '#') if text.is_empty() => text.push_str("\\#"),
                (Quote::Single, '\'') => text.push_str("'\\''"),
                (_, character) => text.push(character),
            }
        }
        text
    }

    /// Writes out a whole name that begins with [`Typed::word`], and what ends it.
    pub(super) fn completed(&self, name: &str) -> String {
        let end = match self.quote {
            Quote::None => " ",
            Quote::Single => "' ",
            Quote::Double => "\" ",
        };
        self.extended(name) + end
    }
}

/// What all names begin with.
pub(super) fn common_prefix<'a>(names: &[&'a str]) -> &'a str {
    let Some((first, others)) = names.split_first() else { return "" };
    let end = |first: &str, other: &str| {
        let same = first.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
        same.map_or(first.len().min(other.len()), |((at, _), _)| at)
    };
    others.iter().fold(*first, |common, other| &common[..end(common, other)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLIDAY: &str = "Holiday in Rome (2024).mp4";

    fn completed(typed: &str, name: &str) -> String {
        let parsed = Typed::parse(typed).unwrap();
        assert!(name.starts_with(&parsed.word), "{parsed:?}");
        format!("{}{}", &typed[..parsed.start], parsed.completed(name))
    }

    #[test]
    fn a_name_is_completed_as_it_was_typed() {
        for (typed, want) in [
            ("get lab Hol", "get lab Holiday\\ in\\ Rome\\ (2024).mp4 "),
            ("get lab ", "get lab Holiday\\ in\\ Rome\\ (2024).mp4 "),
            ("get lab Holiday\\ in", "get lab Holiday\\ in\\ Rome\\ (2024).mp4 "),
            ("get lab Holiday\\", "get lab Holiday\\ in\\ Rome\\ (2024).mp4 "),
            ("get lab 'Hol", "get lab 'Holiday in Rome (2024).mp4' "),
            ("get lab 'Holiday in R", "get lab 'Holiday in Rome (2024).mp4' "),
            ("get lab \"Holiday in ", "get lab \"Holiday in Rome (2024).mp4\" "),
            ("get lab 'Holiday'", "get lab 'Holiday'\\ in\\ Rome\\ (2024).mp4 "),
            ("get lab Holi\"day ", "get lab Holi\"day in Rome (2024).mp4\" "),
            ("whoami\nget lab Hol", "whoami\nget lab Holiday\\ in\\ Rome\\ (2024).mp4 "),
        ] {
            assert_eq!(completed(typed, HOLIDAY), want);
        }
        assert_eq!(completed("x 'it", "it's"), "x 'it'\\''s' ");
        assert_eq!(completed("x \"a", "a\"b\\c"), "x \"a\\\"b\\\\c\" ");
        assert_eq!(completed("x ", "#c"), "x \\#c ");
        assert_eq!(completed("x a", "a#c"), "x a#c ");
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.png";
        assert_eq!(completed("x \u{1f468}", family), format!("x {family} "));
        assert_eq!(Typed::parse("whoami # Hol"), None);
    }

    #[test]
    fn what_names_share_is_never_half_an_escape() {
        let names = ["a b", "a(b"];
        let typed = Typed::parse("x a").unwrap();
        assert_eq!(typed.extended(common_prefix(&names)), "a");
        assert_eq!(typed.extended(common_prefix(&["a 'b", "a 'c"])), "a\\ \\'");
        assert_eq!(common_prefix(&["éa", "éb", "é"]), "é");
        assert_eq!(common_prefix(&["é", "è"]), "");
        assert_eq!(common_prefix(&[]), "");
    }

    proptest! {
        #[test]
        fn a_completed_line_says_the_name(
            name in "[a-c '\"\\\\#$`é(]{1,12}",
            cut in 0usize..12,
            opening in proptest::sample::select(vec!["", "'", "\"", "z'", "z\"", "\\z"]),
        ) {
            // What is typed is a part of the name behind the opening, written as that wants it.
            let typed = format!("x y {opening}");
            let begun = Typed::parse(&typed).unwrap();
            let name = format!("{}{name}", begun.word);
            let cut = name.char_indices().map(|(at, _)| at).filter(|at| *at >= begun.word.len())
                .nth(cut).unwrap_or(name.len());
            let line = format!("x y {}", begun.extended(&name[..cut]));
            let parsed = Typed::parse(&line).unwrap();
            prop_assert_eq!(&parsed.word, &name[..cut]);
            prop_assert_eq!(&parsed.before, &["x", "y"]);
            let whole = format!("{}{}", &line[..parsed.start], parsed.completed(&name));
            prop_assert_eq!(shell_words::split(&whole).unwrap(), ["x", "y", &name], "{}", whole);
        }

        #[test]
        fn whatever_is_typed_is_read(line in any::<String>()) {
            if let Some(typed) = Typed::parse(&line) {
                prop_assert!(line.is_char_boundary(typed.start));
                typed.completed(&format!("{} x", typed.word));
            }
        }
    }
}
