//! Shows a long table screen by screen, to somebody at the prompt.
//!
//! **Invariant:** the terminal is left as it was found. Where nobody reads along, in scripts and
//! pipes, everything is written at once.
//!
//! Blocks on a key, on the thread that runs commands.

use std::io;

use rustix::termios::{LocalModes, OptionalActions, QueueSelector};
use unicode_width::UnicodeWidthStr as _;

/// What is asked behind a full screen.
const QUESTION: &str = "-- more: any key; end: q --";
/// Takes the question away again.
const ERASE: &str = "\r\x1b[K";

/// Counts lines, and asks before a screen is full.
#[derive(Debug, Default)]
pub(super) struct Pager {
    /// Lines and columns of the screen; `None` if nobody is to be asked.
    screen: Option<(usize, usize)>,
    /// Lines that still fit on it.
    left: usize,
    has_ended: bool,
}

impl Pager {
    /// A pager for the terminal at stdin and stdout, if its screen has a size.
    pub(super) fn for_terminal() -> Self {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        // The question takes a line.
        let size = size.filter(|size| !is_dumb && size.ws_row > 2 && size.ws_col > 0);
        let screen = size.map(|size| (usize::from(size.ws_row) - 1, usize::from(size.ws_col)));
        Self { screen, left: screen.map_or(0, |(lines, _)| lines), has_ended: false }
    }

    /// Writes text, and asks where a screen is full. Returns whether to go on.
    pub(super) fn pass(&mut self, text: &str, write: impl Fn(&str)) -> bool {
        self.pass_asking(text, write, ask)
    }

    fn pass_asking(
        &mut self,
        text: &str,
        write: impl Fn(&str),
        ask: impl Fn() -> io::Result<bool>,
    ) -> bool {
        let Some((lines, columns)) = self.screen else {
            write(text);
            return true;
        };
        let mut fitting = String::new();
        for line in text.split_inclusive('\n') {
            if self.has_ended {
                return false;
            }
            let need = line.trim_end_matches('\n').width().div_ceil(columns).max(1);
            // A screen has at least one line, however long.
            if need > self.left && self.left < lines {
                write(&std::mem::take(&mut fitting));
                write(QUESTION);
                // A terminal that cannot be asked shows no more.
                self.has_ended = !ask().unwrap_or(false);
                write(ERASE);
                self.left = lines;
                if self.has_ended {
                    return false;
                }
            }
            fitting.push_str(line);
            self.left = self.left.saturating_sub(need);
        }
        write(&fitting);
        true
    }
}

/// Waits for a key; tells whether it asks for more.
fn ask() -> io::Result<bool> {
    let stdin = io::stdin();
    let saved = rustix::termios::tcgetattr(&stdin)?;
    let mut modes = saved.clone();
    // One key is enough, is not shown, and Ctrl-C is a key like the others.
    modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &modes)?;
    let mut key = [0];
    // Not through std's buffer, which would keep the keys of the next command.
    let read = loop {
        match rustix::io::read(&stdin, &mut key) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    if key == *b"\x1b" {
        // The rest of an arrow key is no command.
        let _ = rustix::termios::tcflush(&stdin, QueueSelector::IFlush);
    }
    rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &saved)?;
    Ok(read? > 0 && !matches!(key[0], b'q' | b'Q' | 0x03 | 0x04))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// What is written of `parts` on a screen of 3 lines and 10 columns, if `wanted` questions are
    /// answered with yes.
    fn shown(parts: &[&str], wanted: usize) -> (String, bool) {
        let (text, asked) = (RefCell::new(String::new()), Cell::new(0));
        let mut pager = Pager { screen: Some((3, 10)), left: 3, has_ended: false };
        let ask = || {
            asked.set(asked.get() + 1);
            Ok(asked.get() <= wanted)
        };
        let write = |part: &str| match part {
            QUESTION => text.borrow_mut().push('?'),
            ERASE => {}
            part => text.borrow_mut().push_str(part),
        };
        let goes_on = parts.iter().all(|part| pager.pass_asking(part, write, ask));
        (text.into_inner(), goes_on)
    }

    #[test]
    fn a_screen_is_filled_and_then_asked_for() {
        assert_eq!(shown(&["1\n2\n3\n"], 0), ("1\n2\n3\n".into(), true));
        assert_eq!(shown(&["1\n2\n3\n4\n"], 1), ("1\n2\n3\n?4\n".into(), true));
        assert_eq!(shown(&["1\n2\n", "3\n4\n", "5\n"], 0), ("1\n2\n3\n?".into(), false));
        assert_eq!(shown(&["12345678901\n2\n3\n"], 1), ("12345678901\n2\n?3\n".into(), true));
        let long = "x".repeat(99) + "\n";
        assert_eq!(shown(&[&long, &long], 1), (format!("{long}?{long}"), true));
    }

    #[test]
    fn without_a_screen_all_is_written_at_once() {
        let text = RefCell::new(String::new());
        let long = "line\n".repeat(1000);
        assert!(Pager::default().pass(&long, |part| text.borrow_mut().push_str(part)));
        assert_eq!(text.into_inner(), long);
    }
}
