//! The `help` command.

use super::answer::Answer;
use super::output::Format;
use super::session::unknown;
use super::table::{COMMANDS, CommandSpec};
use super::topics::{details, overview};
use crate::client::api::ApiError;

/// Describes all commands, or one.
///
/// # Errors
/// For a command that there is not.
pub(super) fn help(command: Option<&str>, format: Format) -> Result<Answer, ApiError> {
    let shown: Vec<&CommandSpec> = match command {
        None => COMMANDS.iter().collect(),
        Some(name) => {
            vec![CommandSpec::find(name).ok_or_else(|| unknown(name))?]
        }
    };
    let rows = match (format, command) {
        (Format::Table, None) => overview(),
        (Format::Table, Some(_)) => shown.iter().flat_map(|spec| details(spec)).collect(),
        _ => shown.iter().map(|spec| vec![spec.usage(), spec.summary.to_owned()]).collect(),
    };
    let value = |spec: &&CommandSpec| {
        serde_json::json!({
            "command": spec.name, "usage": spec.usage(), "summary": spec.summary,
            "topic": spec.topic(),
        })
    };
    Ok(Answer::rows(rows, "no commands")
        .with("commands", shown.iter().map(value).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_knows_every_command() {
        for format in [Format::Plain, Format::Table] {
            assert!(help(Some("login"), format).unwrap().rows[0][0].starts_with("login <user> "));
            assert!(help(Some("x"), format).is_err());
        }
        assert_eq!(help(None, Format::Plain).unwrap().rows.len(), COMMANDS.len());
    }

    #[test]
    fn help_at_a_terminal_fits_a_small_screen() {
        let rows = help(None, Format::Table).unwrap().rows;
        // A line for what was typed, and one for the next prompt.
        assert!(rows.len() <= 22, "{}", rows.len());
        let lines: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert!(lines.iter().all(|line| line.len() < 80), "{lines:#?}");
        let (_, names) = lines.split_last().unwrap();
        let words: Vec<&str> = names.iter().flat_map(|line| line.split_whitespace()).collect();
        for spec in COMMANDS {
            assert_eq!(words.iter().filter(|word| **word == spec.name).count(), 1, "{}", spec.name);
        }
    }
}
