//! Where commands come from when nobody types them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use zeroize::Zeroizing;

use super::table::split;
use crate::client::api::ApiError;

/// Bytes in one line: a command of a few long paths; a stream without line ends is not swallowed
/// whole.
const LINE_LEN_MAX: usize = 1 << 20;
/// Bytes for which there is room from the start: two passwords and what belongs to them.
const LINE_LEN_USUAL: usize = 4 << 10;

/// What editors of other systems put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Lines read ahead: those that are there together may share a wait for the disk.
const LINES_AHEAD: usize = 16;

/// Where commands come from.
pub(crate) enum Input {
    /// A user types them.
    Terminal,
    /// A file, a pipe, or `-c`.
    Lines(Lines),
}

/// One line, wiped when dropped since it may hold a password; or why it cannot be one.
pub(crate) type Line = Result<Zeroizing<String>, String>;

/// Lines to carry out.
pub(crate) enum Lines {
    /// All of them are there.
    Ready(std::vec::IntoIter<Zeroizing<String>>),
    /// They come as they come, through the thread "input".
    Coming(Receiver<Line>),
}

impl Lines {
    /// Tells whether the next line has not come yet.
    pub(super) fn are_waited_for(&self) -> bool {
        matches!(self, Self::Coming(lines) if lines.is_empty())
    }

    /// Waits for the next line; `None` at the end.
    ///
    /// # Errors
    /// A line that is none.
    pub(crate) fn next_line(&mut self) -> Result<Option<Zeroizing<String>>, ApiError> {
        match self {
            Self::Ready(lines) => Ok(lines.next()),
            Self::Coming(lines) => match lines.recv() {
                Ok(line) => line.map(Some).map_err(ApiError::bad_argument),
                Err(_) => Ok(None),
            },
        }
    }

    /// Tells whether no command is left; takes blank lines and comments. A pipe that stays open for
    /// `timeout` has more to come.
    pub(super) fn are_over(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let line = match self {
                Self::Ready(lines) => lines.next().map(Ok),
                Self::Coming(lines) => match lines.recv_deadline(deadline) {
                    Ok(line) => Some(line),
                    Err(RecvTimeoutError::Disconnected) => None,
                    Err(RecvTimeoutError::Timeout) => return false,
                },
            };
            match line {
                None => return true,
                Some(Ok(line)) if split(&line).is_ok_and(|words| words.is_empty()) => {}
                Some(_) => return false,
            }
        }
    }
}

impl Input {
    /// Tells whether passwords that a script leaves out can be asked for: its lines come from
    /// elsewhere, and there is a terminal.
    pub(crate) fn can_ask(script: Option<&Path>, commands: &[String]) -> bool {
        (script.is_some() || !commands.is_empty()) && io::stdin().is_terminal()
    }

    /// Chooses by the command line: the script, then every `-c`, else stdin. There is a prompt only
    /// where both sides are a terminal and people read the answers.
    ///
    /// # Errors
    /// A script that cannot be read.
    pub(crate) fn of(
        script: Option<&Path>,
        commands: &[String],
        json: bool,
    ) -> Result<Self, ApiError> {
        if script.is_none() && commands.is_empty() {
            if io::stdin().is_terminal() && io::stdout().is_terminal() && !json {
                return Ok(Self::Terminal);
            }
            return coming(io::stdin()).map(Self::Lines);
        }
        if let (Some(path), true) = (script, commands.is_empty()) {
            let file = File::open(path)
                .map_err(|e| ApiError::path(path, format!("cannot read the script: {e}")))?;
            return coming(file).map(Self::Lines);
        }
        let mut lines = Vec::new();
        if let Some(path) = script {
            let text = std::fs::read_to_string(path);
            let text = Zeroizing::new(
                text.map_err(|e| ApiError::path(path, format!("cannot read the script: {e}")))?,
            );
            let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
            lines.extend(text.lines().map(|line| Zeroizing::new(line.to_owned())));
        }
        lines.extend(commands.iter().cloned().map(Zeroizing::new));
        Ok(Self::Lines(Lines::Ready(lines.into_iter())))
    }
}

fn coming(stream: impl io::Read + Send + 'static) -> Result<Lines, ApiError> {
    let (sender, receiver) = bounded(LINES_AHEAD);
    let work = move || read_lines(BufReader::new(stream), &sender);
    let spawned = std::thread::Builder::new().name("input".into()).spawn(work);
    spawned.map_err(|e| ApiError::system("cannot start a thread", &e))?;
    Ok(Lines::Coming(receiver))
}

fn read_lines(mut stream: impl BufRead, sender: &Sender<Line>) {
    let mut is_first = true;
    loop {
        // Room for every password, so that no copy is left behind where the line has grown.
        let mut bytes = Vec::with_capacity(LINE_LEN_USUAL);
        let line =
            match io::Read::take(&mut stream, LINE_LEN_MAX as u64).read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(LINE_LEN_MAX) if bytes.last() != Some(&b'\n') => {
                    Err("a line is too long; no command needs a mebibyte".to_owned())
                }
                Ok(_) => {
                    let end = bytes
                        .iter()
                        .rposition(|b| !matches!(b, b'\n' | b'\r'))
                        .map_or(0, |last| last + 1);
                    bytes.truncate(end);
                    if std::mem::take(&mut is_first)
                        && bytes.starts_with(BYTE_ORDER_MARK.encode_utf8(&mut [0; 4]).as_bytes())
                    {
                        bytes.drain(..BYTE_ORDER_MARK.len_utf8());
                    }
                    String::from_utf8(bytes)
                        .map(Zeroizing::new)
                        .map_err(|_| "a line is not UTF-8; write it so".to_owned())
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(format!("cannot read commands: {e}")),
            };
        let is_end = line
            .as_ref()
            .is_err_and(|text| text.starts_with("cannot") || text.contains("too long"));
        if sender.send(line).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_say_when_they_are_none() {
        let (sender, receiver) = bounded(16);
        read_lines(&b"\xef\xbb\xbflogin a b\r\n\n\xff\xff\n\xef\xbb\xbflast"[..], &sender);
        drop(sender);
        let lines: Vec<Line> = receiver.iter().collect();
        let line = |i: usize| lines[i].as_ref().map(|line| line.as_str());
        assert_eq!(line(0), Ok("login a b"));
        assert_eq!(line(1), Ok(""));
        assert!(lines[2].is_err());
        assert_eq!(line(3), Ok("\u{feff}last"), "it is a mark at the start alone");
    }
    #[test]
    fn lines_are_over_when_no_command_is_left() {
        let over = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| Zeroizing::new(line.to_string())).collect();
            Lines::Ready(lines.into_iter()).are_over(Duration::ZERO)
        };
        assert!(over(&[]) && over(&["", "  # a comment"]));
        assert!(!over(&["", "whoami"]) && !over(&["'"]));
        let (sender, receiver) = bounded(16);
        let mut lines = Lines::Coming(receiver);
        sender.send(Ok(Zeroizing::new("# more".into()))).unwrap();
        assert!(!lines.are_over(Duration::ZERO), "more may come");
        drop(sender);
        assert!(lines.are_over(Duration::ZERO));
    }
}
