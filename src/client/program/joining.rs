//! `client join`: where the link of the invitation comes from.
//!
//! **Invariant:** a link does not stay in the process list: a program that is given one as an
//! argument carries on as the same process without it, and reads it from a pipe.

use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::pipe::pipe;
use zeroize::{Zeroize as _, Zeroizing};

use super::StartError;
use crate::client::ClientError;
use crate::client::shell::{Answers, Input, ask_link, read_stdin};
use crate::types::invitation_link::{LINK_LEN_MAX, is_link};

/// The word that asks to join, in place of addresses.
pub(super) const WORD: &str = "join";
/// The option that names a file with the link.
pub(super) const LINK_FILE: &str = "--link-file";

/// Replaces the program by itself without the link among its arguments, if there is one.
///
/// # Errors
/// The system's. Without an error it returns only if there was no link.
pub(super) fn hide_link(arguments: &mut [OsString]) -> Result<(), StartError> {
    let is_it = |at: &usize| {
        // The word behind `-c` is a command of the user's, which README warns of.
        arguments[*at].to_str().is_some_and(is_link) && arguments[at - 1] != "-c"
    };
    let Some(at) = (1..arguments.len()).find(is_it) else { return Ok(()) };
    let link = std::mem::take(&mut arguments[at]).into_string().unwrap_or_default();
    let link = Zeroizing::new(link);
    let wrap =
        |e: std::io::Error| ClientError::system("cannot take the link off the command line", e);
    // A pipe holds more than the longest link, so that writing does not block.
    let (reader, writer) = pipe().map_err(|e| wrap(e.into()))?;
    let bytes = &link.as_bytes()[..link.len().min(LINK_LEN_MAX + 1)];
    rustix::io::write(&writer, bytes).map_err(|e| wrap(e.into()))?;
    drop(writer);
    let program = std::env::current_exe().map_err(wrap)?;
    let mut again = Command::new(program);
    // In front: behind `--` nothing is an option.
    again.arg0(&arguments[0]).arg(LINK_FILE).arg(format!("/dev/fd/{}", reader.as_raw_fd()));
    // A link alone asks for the same.
    let joins = arguments[1..].iter().any(|argument| argument == WORD);
    again.args((!joins).then_some(WORD));
    let others = (1..).zip(&arguments[1..]).filter(|(place, _)| *place != at);
    again.args(others.map(|(_, argument)| argument));
    Err(wrap(again.exec()).into())
}

/// Reads the link: from a file, else from the terminal or as the first line of the input. Also
/// tells where the answers to questions come from.
///
/// # Errors
/// A file that cannot be read, an input without a line.
///
/// # Blocking
/// Until the link has been typed.
pub(super) fn read_link(
    file: Option<&Path>,
    input: &mut Input,
    can_ask: bool,
    is_stdin: bool,
) -> Result<(Zeroizing<String>, Answers), StartError> {
    let answers = match (&input, can_ask) {
        (Input::Terminal, _) | (_, true) => Answers::Terminal,
        _ if is_stdin => Answers::Script,
        _ => Answers::Stdin,
    };
    let link = match (file, answers, input) {
        (Some(file), _, _) => Some(read_file(file)?),
        (None, Answers::Terminal, _) => Some(ask_link()?),
        (None, Answers::Script, Input::Lines(lines)) => lines.next_line()?,
        (None, _, _) => read_stdin()?,
    };
    let missing =
        || ClientError::BadArgument("there is no link of an invitation in the input".into());
    Ok((link.ok_or_else(missing)?, answers))
}

/// Reads the first line of a file.
fn read_file(path: &Path) -> Result<Zeroizing<String>, ClientError> {
    use std::io::Read as _;
    let wrong = |e: std::io::Error| ClientError::path(path, format!("cannot read the link: {e}"));
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LINK_LEN_MAX));
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(2 * LINK_LEN_MAX as u64).read_to_end(&mut bytes).map_err(wrong)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.trim_start_matches('\u{feff}').trim().to_owned();
    text.zeroize();
    Ok(Zeroizing::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_and_other_arguments_stay() {
        assert!(is_link("posse:join/x") && is_link("POSSE:join/x"));
        assert!(!is_link("join") && !is_link("poss") && !is_link("-") && !is_link("pösse:"));
        for words in [
            &["client"][..],
            &["client", "join"],
            &["client", "join", "-"],
            &["client", "-c", "posse:join/x"],
        ] {
            let mut arguments: Vec<OsString> = words.iter().map(Into::into).collect();
            hide_link(&mut arguments).unwrap();
            assert_eq!(arguments, words);
        }
    }

    #[test]
    fn a_file_holds_one_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::fs::write(&path, "\u{feff}  posse:join/x\r\n\n").unwrap();
        assert_eq!(read_file(&path).unwrap().as_str(), "posse:join/x");
        assert!(read_file(&dir.path().join("none")).unwrap_err().to_string().contains("link"));
    }
}
