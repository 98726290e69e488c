//! A command line as far as it is understood without a client: for the fuzz targets.

use super::session::unknown;
use super::table::{CommandSpec, split};

/// Splits a line, finds its command, and takes the passwords out of what the history may keep.
pub(crate) fn command_line(line: &str) {
    let Ok(words) = split(line) else { return };
    let Some(name) = words.first() else { return };
    // Quoted again they are the same words.
    let quoted = shell_words::join(words.iter());
    assert!(
        quoted.starts_with('#') || split(&quoted).is_ok_and(|again| again == words),
        "{words:?} {quoted:?}"
    );
    let Some(spec) = CommandSpec::find(name) else {
        assert!(unknown(name).to_string().contains("help lists all"));
        return;
    };
    let kept = spec.without_passwords(&words);
    assert_eq!(kept.first(), words.first());
    let secret =
        |place: usize| spec.arguments.get(place).is_some_and(|argument| argument.kind.is_secret());
    let secrets = (1..words.len()).filter(|word| secret(word - 1)).count();
    assert!(kept.len() <= words.len() - secrets, "{words:?} {kept:?}");
    assert!(spec.needed() <= spec.arguments.len() && spec.usage().starts_with(spec.name));
}
