//! Listings: written page by page as they come, for people, scripts and readers of JSON.
//!
//! **Invariant:** what is written of a listing is one page at most behind what was asked for, and
//! one page is all that is held. A listing that fails in the middle says so behind what was
//! written.
//!
//! In JSON a listing is one object on one line like every result; `ok` comes last, as it is known
//! last.

use serde_json::Value;

use super::answer::Answer;
use super::columns::Columns;
use super::output::{Format, Output, error_fields};
use super::pager::Pager;
use super::paging::pages;
use super::session::Shell;
use crate::client::api::{ApiError, Command, Listing, Page, Reply};

/// How the entries of a listing are shown.
pub(super) struct Look<'a, T> {
    /// The field of JSON that holds them.
    pub(super) field: &'a str,
    /// What is said if there are none.
    pub(super) none: &'a str,
    /// Columns for people and scripts.
    pub(super) row: &'a dyn Fn(&T) -> Vec<String>,
    /// An object of JSON.
    pub(super) value: &'a dyn Fn(&T) -> Value,
}

impl Shell {
    /// Writes a listing, up to `limit` entries.
    ///
    /// # Errors
    /// What went wrong before anything was written. Later failures are written, and noted in the
    /// answer.
    pub(super) fn list<T>(
        &mut self,
        command: &str,
        ask: impl Fn(Listing) -> Command,
        take: fn(Reply) -> Result<Page<T>, ApiError>,
        limit: Option<usize>,
        look: &Look<'_, T>,
    ) -> Result<Answer, ApiError> {
        self.interrupts.clear();
        let output = self.output.clone();
        let (api, stop) = (self.api.clone(), self.calls.stop());
        let mut pages = pages(&*api, stop, ask, take).peekable();
        // An error of the first page is the command's.
        if let Some(Err(error)) = pages.next_if(|page| page.is_err()) {
            return Err(error);
        }
        let mut writer = Writer::new(&output, command, look, self.pager());
        let mut left = limit.unwrap_or(usize::MAX);
        let mut more = false;
        for page in pages {
            let page =
                if self.interrupts.is_interrupted() { Err(ApiError::interrupted()) } else { page };
            match page {
                Ok(entries) => {
                    more = entries.len() > left;
                    let shown = &entries[..entries.len().min(left)];
                    left -= shown.len();
                    if !writer.write(shown) {
                        break;
                    }
                }
                Err(error) => {
                    writer.fail(&error);
                    return Ok(Answer {
                        is_written: true,
                        failed: Some(error),
                        ..Answer::default()
                    });
                }
            }
            if more || output.is_closed() {
                break;
            }
        }
        writer.end(more);
        Ok(Answer { is_written: true, ..Answer::default() })
    }
}

impl Shell {
    /// Writes an answer; a long one screen by screen, if somebody reads it at the prompt.
    pub(super) fn show(&self, command: &str, answer: Answer) {
        if self.output.format() == Format::Table {
            self.output.page(&answer.rows, &mut Columns::default(), &mut self.pager());
        } else {
            self.output.answer(command, answer);
        }
    }

    fn pager(&self) -> Pager {
        if self.is_at_prompt() { Pager::for_terminal() } else { Pager::default() }
    }
}

/// Writes one listing.
struct Writer<'a, T> {
    output: &'a Output,
    command: &'a str,
    look: &'a Look<'a, T>,
    object: Option<super::output::OpenObject<'a>>,
    columns: Columns,
    pager: Pager,
    count: usize,
}

impl<'a, T> Writer<'a, T> {
    fn new(output: &'a Output, command: &'a str, look: &'a Look<'a, T>, pager: Pager) -> Self {
        let object =
            (output.format() == Format::Json).then(|| output.open_object(command, look.field));
        Self { output, command, look, object, columns: Columns::default(), pager, count: 0 }
    }

    /// Returns whether the reader wants more.
    fn write(&mut self, entries: &[T]) -> bool {
        self.count += entries.len();
        match &mut self.object {
            Some(object) => {
                object.write(entries.iter().map(self.look.value));
                true
            }
            None => {
                let rows: Vec<_> = entries.iter().map(self.look.row).collect();
                self.output.page(&rows, &mut self.columns, &mut self.pager)
            }
        }
    }

    fn end(self, more: bool) {
        match self.object {
            Some(object) => {
                object.close([("more".to_owned(), more.into()), ("ok".to_owned(), true.into())])
            }
            None if self.count == 0 => self.output.rows(&[vec![self.look.none.to_owned()]]),
            None => {}
        }
    }

    fn fail(self, error: &ApiError) {
        match self.object {
            Some(object) => object
                .close([("ok".to_owned(), false.into())].into_iter().chain(error_fields(error))),
            None => self.output.failure(Some(self.command), error),
        }
    }
}
