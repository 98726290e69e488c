//! The command that shows what happened while nobody looked.

use serde_json::{Value, json};

use super::answer::Answer;
use super::render::date;
use super::session::Shell;
use crate::client::{ClientError, Notification, NotificationKind};

impl Shell {
    /// Carries out `notifications`.
    pub(super) fn notifications(&self, all: bool) -> Result<Answer, ClientError> {
        let shown = self.client.notifications(all)?;
        let rows = shown.iter().map(|one| vec![date(one.at_ms), text(one)]).collect();
        let values: Vec<Value> = shown.iter().map(value).collect();
        Ok(Answer::rows(rows, "nothing new").with("notifications", values))
    }
}

fn text(one: &Notification) -> String {
    use NotificationKind as Kind;
    let [group, about, detail] =
        [&one.group, &one.about, &one.detail].map(|text| text.as_deref().unwrap_or_default());
    match one.kind {
        Kind::JoinRequested => {
            format!("{about} asks to join {group}: accept_request {group} {about}")
        }
        Kind::JoinRejected => format!("your request to join {group} was turned down"),
        Kind::Admitted => format!("you were let into {group}"),
        Kind::Removed => format!("you are no longer a member of {group}"),
        Kind::DownloadComplete => format!("[C] [{group}] {about}  {detail}"),
        Kind::DownloadFailed => format!("[F] [{group}] {about}  {detail}"),
        Kind::DownloadPaused => format!("[P] [{group}] {about}  paused: {detail}"),
        Kind::ShareNotOffered => format!("{about} in {group} is not offered: {detail}"),
        Kind::SessionEnded => format!("the session had ended: {detail}"),
    }
}

fn value(one: &Notification) -> Value {
    let is_of_user = one.kind == NotificationKind::JoinRequested;
    let (user, file) = if is_of_user { (&one.about, &None) } else { (&None, &one.about) };
    let is_path = one.kind == NotificationKind::DownloadComplete;
    let (path, reason) = if is_path { (&one.detail, &None) } else { (&None, &one.detail) };
    json!({
        "at_ms": one.at_ms, "event": one.kind.as_str(), "group": one.group, "user": user,
        "file": file, "path": path, "reason": reason, "seen": one.is_seen,
    })
}
