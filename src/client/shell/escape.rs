//! Makes text from elsewhere safe to show at a terminal, also as JSON.
//!
//! **Invariant:** what would steer a terminal, hide, or turn text around is written out; which
//! characters these are, [`crate::types`] says once for logs and terminals.

use crate::types;
pub(super) use crate::types::escape_json;

/// Replaces control, format and direction characters by `\u{...}`; all else stays as it is, also
/// joiners that can be seen.
///
/// # Example
/// ```
/// assert_eq!(posse::client::shell::escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// ```
pub fn escape(text: &str) -> String {
    types::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_says_the_same_without_the_characters() {
        let hostile = "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}\u{e0041}\"\\\n";
        let text = json!({ "file": hostile, hostile: [hostile] }).to_string();
        let safe = escape_json(&text);
        assert!(!safe.contains(types::is_unsafe), "{safe:?}");
        assert!(
            safe.contains("\\u202e") && safe.contains("\\u009b") && safe.contains("\\udb40\\udc41"),
            "{safe}"
        );
        let read: Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(
            (read["file"].as_str(), read[hostile][0].as_str()),
            (Some(hostile), Some(hostile))
        );
        assert!(matches!(escape_json("{\"file\":\"über\"}"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn whatever_the_text_nothing_unsafe_comes_through(text in any::<String>()) {
            prop_assert!(types::is_safe(&escape(&text)));
            let json = Value::from(text.as_str()).to_string();
            let safe = escape_json(&json);
            prop_assert!(!safe.contains(types::is_unsafe));
            let read: Value = serde_json::from_str(&safe).unwrap();
            prop_assert_eq!(read.as_str(), Some(text.as_str()));
        }
    }
}
