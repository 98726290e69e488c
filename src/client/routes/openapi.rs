//! The routes as an OpenAPI document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Failure, status_of};
use super::directories::Directory;
use super::{Action, LINES, ROOT, ROUTES};
use crate::client::api::{Command, ErrorCode, Peers, Pieces, Progress, Reply, Snapshot, Update};
use crate::http::openapi::{Description, Guard, Operation};

/// Begins a description, with all of [`ROUTES`].
pub(crate) fn begin(text: &str, guard: Guard) -> Description {
    let mut description = Description::new::<Failure<'_>>("Posse client", text, guard);
    for route in ROUTES {
        let operation = operation(route.action, &mut description).needs(route.needs);
        description.add(&route.method, &format!("{ROOT}{}", route.path), operation);
    }
    description
}

/// One line of a command's answer.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "it is a schema")]
enum Line {
    /// It goes on.
    Progress {
        /// How far it is.
        progress: Progress,
    },
    /// Its result: the last line.
    Reply(Box<Reply>),
    /// Its error: the last line.
    Failure(Failure<'static>),
}

/// What an action reads, and how it answers. A new action gets an arm: its parameters, its body, its
/// answers, and the errors that [`fails`] maps to their statuses.
fn operation(action: Action, types: &mut Description) -> Operation {
    use ErrorCode::{ClientGone, NotAllowed};
    match action {
        Action::OpenApi => Operation::new("openapi", "This document").answers_json(
            200,
            "An OpenAPI 3.1 document.",
            json!({ "type": "object", "required": ["openapi", "paths"] }),
        ),
        Action::Command => {
            let (command, reply) = (types.read::<Command>(), types.written::<Reply>());
            let lines = types.written::<Line>();
            let operation = Operation::new("command", "Carries out one command")
                .text(
                    "Each command needs rights of its own. Closing the connection interrupts it. With \
                     `Accept: application/x-ndjson` the response is lines, each of the schema below.",
                )
                .header_parameter("Accept", "`application/x-ndjson` for lines with progress.")
                .json_body(command)
                .answers(200, "It was carried out.", &[("application/json", reply), (LINES, lines)]);
            fails(operation, &all_codes())
        }
        Action::Snapshot => {
            let operation = Operation::new("snapshot", "The client's state");
            let snapshot = types.written::<Snapshot>();
            fails(operation.answers_json(200, "The state.", snapshot), &[ClientGone])
        }
        Action::Events => {
            let update = types.written::<Update>();
            let stream = json!({
                "description": "Server-sent events. The data of each is JSON.",
                "type": "string",
                "x-posse-event": update,
            });
            let operation = Operation::new("events", "The client's events, as they happen")
                .text("The first event is `snapshot`. The response does not end.")
                .parameter(
                    "moving",
                    "query",
                    false,
                    "0 leaves out the progress of downloads.",
                    json!({ "enum": ["0", "1"] }),
                )
                .answers(200, "The events.", &[("text/event-stream", stream)]);
            fails(operation, &[ClientGone])
        }
        Action::Directories => {
            let operation = Operation::new("directories", "What is in a directory")
                .query_parameter("path", false, "An absolute path; without it, where to begin.")
                .answers_json(200, "The directory.", types.written::<Directory>());
            fails(operation, &[ErrorCode::Path, NotAllowed])
        }
        Action::Drop => {
            let operation = Operation::new("drop", "Stores a file and shares it")
                .text("The body is the file, of any length. Nothing is overwritten.")
                .query_parameter("directory", true, "Where it is stored: an absolute path.")
                .query_parameter("name", true, "Its name.")
                .query_parameter("group", true, "The group that gets it.")
                .body("application/octet-stream", json!({}))
                .answers_json(201, "It is shared.", types.written::<Reply>());
            fails(operation, &all_codes())
        }
        Action::Content => content(false),
        Action::Peers => {
            let operation = Operation::new("peers", "The links to other devices for a file")
                .path_parameter("group", "The group's name as shown.")
                .path_parameter("file", "The file's name as shown.")
                .answers_json(200, "The links.", types.written::<Peers>());
            fails(operation, &all_codes())
        }
        Action::Pieces => {
            let operation = Operation::new("pieces", "Which pieces of a file are here")
                .path_parameter("group", "The group's name as shown.")
                .path_parameter("file", "The file's name as shown.")
                .answers_json(200, "The pieces, in buckets.", types.written::<Pieces>());
            fails(operation, &all_codes())
        }
    }
}

/// Reading a file: by its names, or by a link.
pub(crate) fn content(is_link: bool) -> Operation {
    use ErrorCode::{BadArgument, Crowded, DownloadState, NotHere, Refused};
    let operation = match is_link {
        true => Operation::new("linked_content", "The bytes of a file, by a link to them")
            .path_parameter("id", "What `link` has made."),
        false => Operation::new("content", "The bytes of a file")
            .text("The file is shared here, or is being downloaded: then the response waits for its pieces.")
            .path_parameter("group", "The group's name as shown.")
            .path_parameter("file", "The file's name as shown."),
    };
    let bytes = [("*/*", json!({}))];
    let mut operation = operation
        .header_parameter("Range", "One range of bytes.")
        .header_parameter("If-Range", "The `ETag` for which the range is wanted.")
        .answers(200, "The whole file.", &bytes)
        .answers(206, "A range of it.", &bytes)
        .answers(416, "The range begins behind the end of the file.", &[]);
    for status in [200, 206] {
        operation = operation.with_header(status, "ETag", "The SHA-1 of the file, in quotes.");
    }
    for status in [206, 416] {
        operation = operation.with_header(status, "Content-Range", "The range, and the length.");
    }
    fails(operation, &[BadArgument, NotHere, Crowded, DownloadState, Refused, ErrorCode::Failed])
}

/// Adds the statuses of errors, with their codes.
pub(crate) fn fails(mut operation: Operation, codes: &[ErrorCode]) -> Operation {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes {
        by_status.entry(status_of(*code).as_u16()).or_default().push(format!("`{code}`"));
    }
    for (status, codes) in by_status {
        operation = operation.fails(status, &format!("Codes: {}.", codes.join(", ")));
    }
    operation
}

/// All codes of errors that a command may have.
fn all_codes() -> Vec<ErrorCode> {
    let schema = schemars::schema_for!(ErrorCode).to_value();
    let of_one = |one: &Value| match &one["const"] {
        Value::Null => one["enum"].as_array().cloned().unwrap_or_default(),
        code => vec![code.clone()],
    };
    let ones = schema["oneOf"].as_array().map(|ones| ones.iter().flat_map(of_one).collect());
    let codes = ones.unwrap_or_else(|| of_one(&schema));
    let codes = codes.into_iter().filter_map(|code| serde_json::from_value(code).ok());
    codes.filter(|code| *code != ErrorCode::NoToken).collect()
}
