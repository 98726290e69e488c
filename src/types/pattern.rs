//! What a listing is searched for.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::LABEL_LEN_MAX;

/// A pattern for names: `*` stands for any characters, `?` for one; without either, a name that
/// holds the text anywhere matches. Letters match whatever their case.
///
/// # Example
/// ```
/// use posse::types::Pattern;
///
/// let pattern: Pattern = "*.PDF".parse()?;
/// assert!(pattern.matches("notes.pdf") && !pattern.matches("notes.pdf.zip"));
/// assert!("note".parse::<Pattern>()?.matches("My Notes"));
/// # Ok::<(), posse::types::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// In lower case, with `*` at both ends if the text has neither sign.
    folded: Vec<char>,
}

/// Says why a text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has 1 to {LABEL_LEN_MAX} bytes")]
pub struct PatternError;

impl Pattern {
    /// The pattern as typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether a name matches. Takes time in proportion to the product of both lengths at
    /// most.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
        let (mut at, mut in_name) = (0, 0);
        // Where the last `*` was, and how far into the name it reaches for now.
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match self.folded.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(&sign) if sign == '?' || sign == name[in_name] => {
                    at += 1;
                    in_name += 1;
                }
                _ => match star {
                    Some((place, reach)) => {
                        star = Some((place, reach + 1));
                        (at, in_name) = (place + 1, reach + 1);
                    }
                    None => return false,
                },
            }
        }
        self.folded[at..].iter().all(|&sign| sign == '*')
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > LABEL_LEN_MAX {
            return Err(PatternError);
        }
        let mut folded: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
        if !text.contains(['*', '?']) {
            folded.insert(0, '*');
            folded.push('*');
        }
        Ok(Self { text: text.into(), folded })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// In which order files are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileOrder {
    /// By name.
    #[default]
    Name,
    /// The largest first.
    Size,
    /// The latest first.
    Date,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        let matches = |pattern: &str, name: &str| pattern.parse::<Pattern>().unwrap().matches(name);
        assert!(matches("a*c", "abbbc") && matches("a*c", "ac") && !matches("a*c", "acb"));
        assert!(matches("?b*", "Abc") && !matches("?b*", "b"));
        assert!(matches("*a*b*c*", "xxaxxbxxcxx") && !matches("*a*b*c", "abcd"));
        assert!(matches("über", "ÜBER uns") && matches("*", "anything") && matches("**", "x"));
        assert!(!matches("x", "abc") && matches("ß", "Straße"));
        assert!(matches(&"*a".repeat(100), &"a".repeat(266)), "no pattern takes for ever");
        assert!("".parse::<Pattern>().is_err() && "x".repeat(300).parse::<Pattern>().is_err());
    }
}
