//! Makes text from elsewhere safe to show: what would steer a terminal, hide, or turn text around
//! is written out.
//!
//! **Invariant:** what comes out of [`escape`] is one line, and shows every character of which it
//! is made.
//!
//! Both logs, and everything that a client or tracker prints, go through here: names, addresses,
//! and the words of other programs.

use std::borrow::Cow;

/// Replaces control, format and direction characters by `\u{...}`; all else stays as it is.
///
/// # Example
/// ```
/// assert_eq!(posse::types::escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Replaces the same characters in a JSON text by JSON's own `\uXXXX`: it stays the same value.
/// Outside of strings JSON has none.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_unsafe(character) {
            let mut units = [0; 2];
            character
                .encode_utf16(&mut units)
                .iter()
                .for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Tells a character that is not seen as itself: a control (also those of ISO 8859-1, which some
/// terminals obey), one that turns text around, joins or parts lines, or has no width.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_steers_a_terminal_is_escaped() {
        assert!(matches!(escape("über uns 漢字 🎉.pdf"), Cow::Borrowed("über uns 漢字 🎉.pdf")));
        assert_eq!(escape("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(escape("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(escape("a\tb\nc\u{9b}d\u{200b}"), "a\\u{9}b\\u{a}c\\u{9b}d\\u{200b}");
    }

    #[test]
    fn every_control_and_direction_character_is() {
        let bidi = ['\u{61c}', '\u{200e}', '\u{200f}']
            .into_iter()
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}');
        for character in
            ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}').chain(bidi).chain(['\u{2028}', '\u{2029}'])
        {
            let shown = escape(&format!("a{character}b")).into_owned();
            assert!(!shown.contains(character) && shown.is_ascii(), "{character:?}");
        }
    }
}
