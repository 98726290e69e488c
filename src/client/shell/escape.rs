//! Makes text from elsewhere safe to show: what would steer a terminal, hide, or turn text around is written out.

/// Replaces control, format and direction characters by `\u{...}`; all else stays as it is.
///
/// # Example
/// ```
/// assert_eq!(posse::client::shell::escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// ```
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_steers_a_terminal_is_escaped() {
        assert_eq!(escape("über uns 漢字 🎉.pdf"), "über uns 漢字 🎉.pdf");
        assert_eq!(escape("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(escape("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(escape("a\tb\nc\u{9b}d\u{200b}"), "a\\u{9}b\\u{a}c\\u{9b}d\\u{200b}");
    }
}
