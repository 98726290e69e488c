//! What a command has to say: rows for people and plain scripts, fields for JSON.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::client::api::ApiError;

/// One command's result.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Lines of columns.
    pub(super) rows: Vec<Vec<String>>,
    /// Fields beside `command` and `ok`.
    pub(super) fields: Map<String, Value>,
    /// Whether the program is to end.
    pub(super) end: bool,
    /// It has been written already.
    pub(super) is_written: bool,
    /// What went wrong, although there is something to tell. If the answer has been written, this
    /// has been written too.
    pub(super) failed: Option<ApiError>,
}

impl Answer {
    /// One line.
    pub(super) fn line(text: impl Into<String>) -> Self {
        Self { rows: vec![vec![text.into()]], ..Self::default() }
    }

    /// Lines of columns, or one line that says there are none.
    pub(super) fn rows(rows: Vec<Vec<String>>, none: &str) -> Self {
        if rows.is_empty() { Self::line(none) } else { Self { rows, ..Self::default() } }
    }

    /// Has the command fail, with this answer.
    pub(super) fn but_failed(self, error: Option<ApiError>) -> Self {
        Self { failed: error, ..self }
    }

    /// Adds every field of a value for JSON.
    pub(super) fn with_all(mut self, value: &impl Serialize) -> Self {
        if let Ok(Value::Object(fields)) = serde_json::to_value(value) {
            self.fields.extend(fields);
        }
        self
    }

    /// Adds a field for JSON.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }
}
