//! Makes text from elsewhere safe to show: what would steer a terminal, hide, or turn text around
//! is written out.
//!
//! **Invariant:** what comes out of [`escape`] is one line, and shows every character of which it
//! is made. Joiners stay where they change how letters or emoji look, as in Persian and Indic
//! names, and are written out everywhere else.
//!
//! Both logs, and everything that a client or tracker prints, go through here: names, addresses,
//! and the words of other programs.

use std::borrow::Cow;

use super::joiners;

/// Replaces control, format and direction characters by `\u{...}`; all else stays as it is, also
/// joiners that can be seen.
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
    for (at, character) in text.char_indices() {
        if is_unsafe(character) && !joiners::is_visible(text, at) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Replaces the same characters, and every joiner, in a JSON text by JSON's own `\uXXXX`: it stays
/// the same value. Outside of strings JSON has none.
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

/// Tells whether [`escape`] leaves a text as it is.
pub fn is_safe(text: &str) -> bool {
    text.char_indices().all(|(at, c)| !is_unsafe(c) || joiners::is_visible(text, at))
}

/// Tells a character that is not seen as itself: a control (also those of ISO 8859-1, which some
/// terminals obey), one that turns text around, joins or parts lines, or has no width. Joiners are
/// among them: only their neighbours tell whether they are seen, see [`is_safe`].
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_steers_a_terminal_is_escaped() {
        assert!(matches!(escape("über uns 漢字 🎉.pdf"), Cow::Borrowed("über uns 漢字 🎉.pdf")));
        assert_eq!(escape("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(escape("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        let words = "copy the network's key, \"as it is\": C:\\";
        assert!(matches!(escape(words), Cow::Borrowed(same) if same == words));
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

    #[test]
    fn joiners_are_shown_where_they_are_seen() {
        for name in
            ["می\u{200c}خواهم.pdf", "क्\u{200d}ष", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}"]
        {
            assert_eq!(escape(name), name);
        }
        assert_eq!(escape("pay\u{200d}pal"), "pay\\u{200d}pal");
        // Beside what is written out there is nothing to join.
        assert_eq!(escape("ی\u{200c}\u{202e}خ"), "ی\\u{200c}\\u{202e}خ");
    }

    proptest! {
        #[test]
        fn whatever_is_escaped_is_safe_and_stays(
            text in proptest::collection::vec(
                prop_oneof![
                    any::<char>(),
                    proptest::sample::select("ab\u{200c}\u{200d}\u{202e}\u{94d}कषیخا\u{64e}👩💻\u{fe0f}\u{1f3fd}".chars().collect::<Vec<_>>()),
                ],
                0..12,
            )
        ) {
            let text: String = text.into_iter().collect();
            let escaped = escape(&text);
            prop_assert!(is_safe(&escaped), "{:?}", escaped);
            prop_assert_eq!(escape(&escaped), escaped.as_ref());
            prop_assert_eq!(is_safe(&text), escaped == text);
            // Joiners are all that stays of what is not seen by itself.
            let is_joiner = |c: char| [joiners::JOINER, joiners::NON_JOINER].contains(&c);
            prop_assert!(!escaped.contains(|c| is_unsafe(c) && !is_joiner(c)));
        }
    }
}
