//! The command that shows what happened while nobody looked.

use super::answer::Answer;
use super::render::{date, to_value};
use super::session::Shell;
use crate::client::api::{ApiError, Command, Notification};

impl Shell {
    /// Carries out `notifications`.
    pub(super) fn notifications(&self, all: bool) -> Result<Answer, ApiError> {
        let shown = self.call(Command::Notifications { all })?.notifications()?;
        let rows = shown.iter().map(|one| vec![date(one.at_ms), text(one)]).collect();
        let values: Vec<_> = shown.iter().map(to_value).collect();
        Ok(Answer::rows(rows, "nothing new").with("notifications", values))
    }
}

fn text(one: &Notification) -> String {
    let [group, user, file, path, reason] =
        [&one.group, &one.user, &one.file, &one.path, &one.reason]
            .map(|text| text.as_deref().unwrap_or_default());
    match one.event.as_str() {
        "join_requested" => {
            let answer = shell_words::join(["accept_request", group, user]);
            format!("{user} asks to join {group}: {answer}")
        }
        "member_joined" => format!("{user} joined {group} by an invitation"),
        "join_rejected" => format!("your request to join {group} was turned down"),
        "admitted" => format!("you were let into {group}"),
        "removed" => format!("you are no longer a member of {group}"),
        "download_complete" => format!("[C] [{group}] {file}  {path}"),
        "download_failed" => format!("[F] [{group}] {file}  {reason}"),
        "download_paused" => format!("[P] [{group}] {file}  paused: {reason}"),
        "share_not_offered" => format!("{file} in {group} is not offered: {reason}"),
        "bad_data_reported" => format!("[{group}] {reason}"),
        "unreachable" => reason.to_owned(),
        "session_ended" => format!("the session had ended: {reason}"),
        // One of a later version.
        event => format!("{event} {group} {file} {reason}"),
    }
}
