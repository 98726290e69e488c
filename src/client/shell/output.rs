//! Where results go: stdout, as plain lines, an aligned table, or JSON; errors on stderr.
//!
//! **Invariant:** every text is escaped, every line is whole. After a write has failed nothing more
//! is written, and stderr says why, unless the reader has gone away.
//!
//! Shared by the thread that runs commands and the announcer.

use std::io::{self, Write as _};
use std::sync::Arc;

use indicatif::MultiProgress;
use parking_lot::{Mutex, MutexGuard};
use rustyline::ExternalPrinter;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::columns::Columns;
use super::escape::{escape, escape_json};
use super::pager::Pager;
use crate::client::api::ApiError;
use crate::types::DeviceId;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Columns separated by tabs.
    Plain,
    /// Columns aligned for people.
    Table,
    /// One object a line.
    Json,
}

type Printer = Box<dyn ExternalPrinter + Send>;

/// The program's output; clones are the same.
#[derive(Clone)]
pub(crate) struct Output {
    format: Format,
    shared: Arc<Mutex<Shared>>,
    /// Prints above the line being edited. It waits for the editor when that is busy, so nothing
    /// else waits for its lock.
    printer: Arc<Mutex<Option<Printer>>>,
    /// Held while a line is written, also one that is written in parts.
    line: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Shared {
    stdout: Stdout,
    /// Bars that are drawn now.
    bars: Option<MultiProgress>,
    /// Events of downloads that wait for the answer to the command that began one.
    held: Option<Vec<String>>,
}

/// Whether stdout can be written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    #[default]
    Open,
    /// Its reader has gone.
    Closed,
    /// A write failed, and stderr has said so.
    Failed,
}

/// Columns of the screen, if it says.
pub(super) fn screen_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Events held back; beyond it they are told at once.
const HELD_EVENTS_MAX: usize = 1024;

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, shared: Arc::default(), printer: Arc::default(), line: Arc::default() }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Tells whether nothing more can be written to stdout.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.lock().stdout != Stdout::Open
    }

    /// Tells whether that is so for another reason than a reader that has gone.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.lock().stdout == Stdout::Failed
    }

    /// From now on announcements are printed above the line being edited.
    pub(super) fn set_printer(&self, printer: Option<Printer>) {
        *self.printer.lock() = printer;
    }

    /// From now on announcements are printed above these bars.
    pub(super) fn set_bars(&self, bars: Option<MultiProgress>) {
        self.shared.lock().bars = bars;
    }

    /// Has the prompt drawn again, where it is: up a line and down again is nowhere, also on the
    /// first line of the screen.
    pub(super) fn redraw(&self) {
        if let Some(printer) = &mut *self.printer.lock() {
            // An editor that has gone draws nothing.
            let _ = printer.print("\x1bM\n".into());
        }
    }

    /// The first line: where the client listens, as which device, and where its page is.
    pub(crate) fn listening(&self, address: &str, device: DeviceId, page: Option<&str>) {
        match self.format {
            Format::Json => {
                let device = device.to_string();
                let fields = json!({ "address": address, "device": device, "page": page });
                self.event("listening", fields)
            }
            Format::Plain | Format::Table => self.write(&format!("listening on {address}\n")),
        }
    }

    /// Where a service's page is, for people; programs are told by the first line.
    pub(crate) fn page_at(&self, url: &str) {
        match self.format {
            Format::Json => {}
            Format::Plain | Format::Table => {
                self.write(&format!("page {url} (`page` prints a link that opens it)\n"))
            }
        }
    }

    /// A command's result.
    pub(super) fn answer(&self, command: &str, answer: Answer) {
        match self.format {
            Format::Json => {
                self.object([("command", command.into()), ("ok", true.into())], answer.fields)
            }
            Format::Plain | Format::Table => self.rows(&answer.rows),
        }
    }

    /// A command that failed, and what it has to tell all the same.
    pub(super) fn failed_answer(&self, command: &str, answer: Answer, error: &ApiError) {
        if self.format == Format::Json {
            let mut fields = answer.fields;
            fields.extend(error_fields(error));
            return self.object([("command", command.into()), ("ok", false.into())], fields);
        }
        self.rows(&answer.rows);
        self.failure(Some(command), error);
    }

    /// Lines of columns, unless JSON is wanted.
    pub(super) fn rows(&self, rows: &[Vec<String>]) {
        self.page(rows, &mut Columns::default(), &mut Pager::default());
    }

    /// A part of a table, unless JSON is wanted. Returns whether the reader wants more.
    pub(super) fn page(
        &self,
        rows: &[Vec<String>],
        columns: &mut Columns,
        pager: &mut Pager,
    ) -> bool {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
        match self.format {
            Format::Json => {}
            Format::Plain => {
                self.write(&rows.iter().map(|row| row.join("\t") + "\n").collect::<String>())
            }
            Format::Table => {
                let text = columns.lay_out(&rows, screen_columns());
                return pager.pass(&text, |part| self.write(part));
            }
        }
        true
    }

    /// Begins an object with a list that is written in parts. Lines of other threads wait until it
    /// ends.
    pub(super) fn open_object(&self, command: &str, field: &str) -> OpenObject<'_> {
        let line = self.line.lock();
        self.write_part(&format!(
            "{{\"command\":{},{}:[",
            Value::from(command),
            Value::from(field)
        ));
        OpenObject { output: self, _line: line, is_empty: true }
    }

    /// A command that failed.
    pub(super) fn failure(&self, command: Option<&str>, error: &ApiError) {
        self.failure_text(command, &error.message, &error.code.to_string());
    }

    /// A command that failed, in words.
    pub(super) fn failure_text(&self, command: Option<&str>, text: &str, code: &str) {
        if self.format == Format::Json {
            let fields =
                Map::from_iter([("error".into(), text.into()), ("code".into(), code.into())]);
            return self.object([("command", command.into()), ("ok", false.into())], fields);
        }
        self.error_line(&format!("error: {}", escape(text)));
    }

    /// Something that happened by itself, for JSON.
    pub(crate) fn event(&self, name: &str, fields: Value) {
        if let (Format::Json, Value::Object(fields)) = (self.format, fields) {
            let line = to_line([("event", name.into())], fields);
            if name.starts_with("download_")
                && let Some(held) =
                    self.shared.lock().held.as_mut().filter(|held| held.len() < HELD_EVENTS_MAX)
            {
                return held.push(line);
            }
            self.write(&line);
        }
    }

    /// From now on events of downloads wait for [`Output::release_downloads`].
    pub(super) fn hold_downloads(&self) {
        self.shared.lock().held.get_or_insert_default();
    }

    /// Writes what was to be told of downloads meanwhile.
    pub(super) fn release_downloads(&self) {
        let held = self.shared.lock().held.take();
        if let Some(held) = held.filter(|held| !held.is_empty()) {
            self.write(&held.concat());
        }
    }

    /// Something that happened by itself, for people at a terminal.
    pub(super) fn announce(&self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let line: String = lines.iter().map(|line| escape(line) + "\n").collect();
        let bars = self.shared.lock().bars.clone();
        if let Some(bars) = bars {
            return bars.suspend(|| self.write(&line));
        }
        let mut printer = self.printer.lock();
        let printed = printer.as_mut().is_some_and(|printer| printer.print(line.clone()).is_ok());
        drop(printer);
        if !printed {
            self.write(&line);
        }
    }

    /// A warning or error for people.
    pub(crate) fn error_line(&self, line: &str) {
        // Nobody can be told that stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Writes one object.
    fn object<const N: usize>(&self, head: [(&str, Value); N], fields: Map<String, Value>) {
        self.write(&to_line(head, fields));
    }

    fn write(&self, text: &str) {
        let _line = self.line.lock();
        self.write_part(text);
    }

    fn write_part(&self, text: &str) {
        let mut shared = self.shared.lock();
        if shared.stdout != Stdout::Open {
            return;
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                shared.stdout = Stdout::Closed;
            }
            Err(error) => {
                shared.stdout = Stdout::Failed;
                self.error_line(&format!(
                    "error: cannot write to standard output: {error}; make room, or write it \
                     elsewhere"
                ));
            }
        }
    }
}

/// An object that is written in parts.
pub(super) struct OpenObject<'a> {
    output: &'a Output,
    _line: MutexGuard<'a, ()>,
    is_empty: bool,
}

impl OpenObject<'_> {
    /// Adds entries to the list.
    pub(super) fn write(&mut self, entries: impl Iterator<Item = Value>) {
        let mut text = String::new();
        for entry in entries {
            if !std::mem::take(&mut self.is_empty) {
                text.push(',');
            }
            text.push_str(&escape_json(&entry.to_string()));
        }
        self.output.write_part(&text);
    }

    /// Ends the list, adds these fields, and ends the line.
    pub(super) fn close(self, fields: impl IntoIterator<Item = (String, Value)>) {
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!(",{}:{value}", Value::from(name)))
            .collect();
        self.output.write_part(&format!("]{}}}\n", escape_json(&fields.concat())));
    }
}

/// What JSON says of an error.
pub(super) fn error_fields(error: &ApiError) -> [(String, Value); 2] {
    [
        ("error".to_owned(), error.to_string().into()),
        ("code".to_owned(), error.code.to_string().into()),
    ]
}

/// One object as a line; what it is about comes first.
fn to_line<const N: usize>(head: [(&str, Value); N], fields: Map<String, Value>) -> String {
    let head = head.into_iter().map(|(name, value)| (name.to_owned(), value));
    let pair = |(name, value): (String, Value)| format!("{}:{value}", Value::from(name));
    let pairs: Vec<String> = head.chain(fields).map(pair).collect();
    escape_json(&format!("{{{}}}", pairs.join(","))).into_owned() + "\n"
}
