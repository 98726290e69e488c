//! Passwords that are typed: asking for those left out, and warning of short ones.

use super::session::Shell;
use super::table::{ArgumentKind, CommandSpec};
use super::terminal;
use crate::client::api::ApiError;

type Result<T> = std::result::Result<T, ApiError>;

/// Characters of a password below which its user is warned.
const PASSWORD_CHARS_MIN: usize = 8;

/// Tells whether a password is soon guessed for its length alone.
fn is_short(password: &str) -> bool {
    password.chars().count() < PASSWORD_CHARS_MIN
}

impl Shell {
    /// A person may choose a short password after a warning; a script has to be allowed to.
    pub(super) fn check_new_password(&self, secret: &str) -> Result<()> {
        if self.allows_short_passwords || !is_short(secret) {
            return Ok(());
        }
        if self.is_at_prompt() || self.asks_passwords {
            return terminal::warn(&format!(
                "a password of fewer than {PASSWORD_CHARS_MIN} characters is soon guessed"
            ));
        }
        Err(ApiError::bad_argument(format!(
            "the new password has fewer than {PASSWORD_CHARS_MIN} characters; choose a longer one, or \
             start with --allow-short-passwords"
        )))
    }

    /// Adds passwords that were left out at a terminal; new ones are asked for twice, as nobody
    /// sees what is typed.
    pub(super) fn ask_passwords(&mut self, words: &mut Vec<String>) -> Result<()> {
        let Some(spec) = words.first().and_then(|name| CommandSpec::find(name)) else {
            return Ok(());
        };
        let is_flag = |word: &&String| spec.flags.iter().any(|flag| flag.name == **word);
        let given = words.iter().skip(1).filter(|word| !is_flag(word)).count();
        let missing: Vec<_> =
            spec.arguments.iter().skip(given).filter(|argument| !argument.optional).collect();
        if missing.is_empty() || !missing.iter().all(|argument| argument.kind.is_secret()) {
            return Ok(());
        }
        for argument in missing {
            self.interrupts.clear();
            let what = match argument.name {
                "password" => "password".to_owned(),
                "link" => "invitation link (it is not shown)".to_owned(),
                name => format!("{name} password"),
            };
            let mut word = terminal::ask_password(&what)?;
            let again = match argument.kind {
                ArgumentKind::NewPassword => {
                    Some(terminal::ask_password(&format!("{what} again"))?)
                }
                _ => None,
            };
            if self.interrupts.is_interrupted() {
                return Err(ApiError::interrupted());
            }
            if again.is_some_and(|again| again != word) {
                return Err(ApiError::bad_argument(
                    "the two passwords differ; nothing was changed, try again",
                ));
            }
            words.push(std::mem::take(&mut *word));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_measured_in_characters() {
        assert!(is_short("x") && is_short("seven77") && is_short("äöüäöü"));
        assert!(!is_short("eight888") && !is_short("äöüäöüäö") && !is_short("correct horse"));
    }
}
