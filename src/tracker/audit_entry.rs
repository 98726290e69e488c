//! A change as the audit shows it: when, who, what, from where, with names in place of ids.
//!
//! **Invariant:** names are looked up where an id stands by the note's form, never in the words of
//! a user: a file that is called `user:...` stays what it is.

use serde_json::{Map, Value, json};

use crate::directory::{Directory, Rows};
use crate::types::{Content, Effect, FileId, GroupId, InvitationId, RequestId, Row, UserId};

/// Commands whose last argument is a name as somebody chose it, with any characters.
const ENDS_IN_NAME: [&str; 9] = [
    "create_group",
    "upload_file",
    "replace_file",
    "rename_group",
    "stay_on_device",
    "delete_user",
    "delete_group",
    "set",
    "reset",
];

/// Commands behind whose ids words of the program stand.
const WITH_WORDS: [&str; 2] = ["invite", "group_settings"];

/// A change that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    request: RequestId,
    /// Who asked; none for the operator.
    actor: Option<(UserId, Option<String>)>,
    command: String,
    /// What it is about: the kind (`group`, `user`, `file`, `name` and so on), the id if it has one, and the
    /// name if it is known.
    about: Vec<(&'static str, Option<String>, Option<String>)>,
    /// Users it is about.
    users: Vec<UserId>,
    /// From which address and device.
    from: String,
}

impl AuditEntry {
    /// Reads a request's row, with names as they are in the directory; `None` for any other row.
    pub(crate) fn of(row: &Row, directory: &Directory<impl Rows>) -> Option<Self> {
        let Content::Request(request, value) = &row.content else { return None };
        // The name of a file may hold such words, too, but nothing stands behind the last ones.
        let (what, from) = value.note.rsplit_once("; ").unwrap_or((&value.note, ""));
        let (command, mut rest) = what.split_once(' ').unwrap_or((what, ""));
        let mut entry = Self {
            at_ms: row.version.stamp.ms(),
            request: *request,
            actor: None,
            command: command.to_owned(),
            about: Vec::new(),
            users: Vec::new(),
            from: from.strip_prefix("from ").unwrap_or_default().to_owned(),
        };
        let (mut group, mut inviter) = (None, None);
        let mut kinds_left = ["group:", "invitation:", "user:", "file:"].as_slice();
        while let Some(at) = kinds_left.iter().position(|kind| rest.starts_with(kind)) {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            let id = word.split_once(':').map_or("", |(_, id)| id);
            let (kind, name) = match kinds_left[at] {
                "group:" => {
                    group = id.parse::<GroupId>().ok();
                    let entry = group.and_then(|group| directory.group(group, UserId::NOBODY));
                    ("group", entry.map(|entry| entry.label.to_string()))
                }
                "invitation:" => {
                    let invitation = group.zip(id.parse::<InvitationId>().ok());
                    inviter = invitation.and_then(|(group, id)| directory.inviter(group, id));
                    ("invitation", None)
                }
                "user:" => {
                    let user = id.parse::<UserId>().ok();
                    entry.users.extend(user);
                    ("user", user.and_then(|user| name_of(directory, user)))
                }
                _ => {
                    let file = group.zip(id.parse::<FileId>().ok());
                    let file = file.and_then(|(group, file)| directory.file(group, file));
                    ("file", file.map(|file| file.label.to_string()))
                }
            };
            entry.about.push((kind, Some(id.to_owned()), name));
            // Each kind comes once, in this order; what a user chose follows at the end.
            kinds_left = &kinds_left[at + 1..];
            rest = behind;
            if ENDS_IN_NAME.contains(&command) {
                break;
            }
        }
        if !rest.is_empty() {
            let kind = if WITH_WORDS.contains(&command) { "what" } else { "name" };
            entry.about.push((kind, None, Some(rest.to_owned())));
        }
        // Its maker has let the user in.
        if let Some(inviter) = inviter.filter(|_| ["join", "create_user"].contains(&command)) {
            entry.users.push(inviter);
            let name = name_of(directory, inviter);
            entry.about.push(("invited_by", Some(inviter.to_string()), name));
        }
        entry.actor = match (value.actor, value.effect) {
            (UserId::NOBODY, Effect::User(user)) => Some((user, name_of(directory, user))),
            (UserId::NOBODY, _) => None,
            (user, _) => Some((user, name_of(directory, user))),
        };
        Some(entry)
    }

    /// Tells whether a user asked for it, or it is about that user.
    pub(crate) fn concerns(&self, user: UserId) -> bool {
        self.users.contains(&user) || self.actor.as_ref().is_some_and(|(actor, _)| *actor == user)
    }

    /// Returns a line for people.
    pub(crate) fn to_text(&self) -> String {
        let who = match &self.actor {
            None => "the operator".to_owned(),
            Some((_, Some(name))) => name.clone(),
            Some((user, None)) => format!("?{user}"),
        };
        let mut text = format!("{} {who}: {}", to_rfc3339(self.at_ms), self.command);
        for (kind, id, name) in &self.about {
            match (name, id) {
                (Some(name), _) if *kind == "invited_by" => {
                    text.push_str(&format!(" invited by {name}"));
                }
                (Some(name), _) => text.push_str(&format!(" {name}")),
                (None, Some(id)) => text.push_str(&format!(" {kind}:{id}")),
                (None, None) => {}
            }
        }
        if !self.from.is_empty() {
            text.push_str(&format!(" (from {})", self.from));
        }
        text
    }

    /// Returns an object for programs.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("time".into(), to_rfc3339(self.at_ms).into());
        object.insert("time_ms".into(), self.at_ms.into());
        object.insert("request".into(), self.request.to_string().into());
        object.insert("by_operator".into(), self.actor.is_none().into());
        if let Some((id, name)) = &self.actor {
            object.insert("actor".into(), json!(name));
            object.insert("actor_id".into(), id.to_string().into());
        }
        object.insert("command".into(), self.command.as_str().into());
        for (kind, id, name) in &self.about {
            object.insert((*kind).to_owned(), json!(name));
            id.as_ref().map(|id| object.insert(format!("{kind}_id"), id.as_str().into()));
        }
        if let Some((address, device)) = self.from.split_once(" device ") {
            object.insert("address".into(), address.into());
            object.insert("device".into(), device.into());
        }
        object.into()
    }
}

fn name_of(directory: &Directory<impl Rows>, user: UserId) -> Option<String> {
    directory.user_entry(user).map(|entry| entry.label.to_string())
}

/// Writes a time in milliseconds since the Unix epoch as RFC 3339 does, in UTC and whole seconds.
///
/// Source of the calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn to_rfc3339(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Place, RequestRow, Stamp, StoreId, Version};

    fn entry(note: &str, actor: UserId) -> AuditEntry {
        let request = RequestId::from_bytes([1; 16]);
        let row = RequestRow { actor, effect: Effect::Done, note: note.into() };
        let row = Row {
            content: Content::Request(request, row),
            version: Version { stamp: Stamp::new(1_000, 0), request },
            place: Place { store: StoreId::from_bytes([2; 16]), sequence: 1 },
            extra: Box::default(),
        };
        AuditEntry::of(&row, &<Directory>::default()).unwrap()
    }

    #[test]
    fn notes_are_taken_apart_and_names_do_not_pose_as_ids() {
        let (user, group) = (UserId::from_bytes([3; 16]), GroupId::from_bytes([4; 16]));
        let note = format!("accept_request group:{group} user:{user}; from 10.0.0.1 device abab");
        let accepted = entry(&note, UserId::from_bytes([5; 16]));
        assert!(accepted.concerns(user) && accepted.concerns(UserId::from_bytes([5; 16])));
        let json = accepted.to_json();
        assert_eq!((&json["address"], &json["device"]), (&"10.0.0.1".into(), &"abab".into()));
        assert_eq!((&json["user_id"], &json["user"]), (&user.to_string().into(), &Value::Null));
        let note = format!(
            "upload_file group:{group} user:{user}; from 6.6.6.6 device x; from 10.0.0.1 device abab"
        );
        let posing = entry(&note, UserId::from_bytes([5; 16]));
        assert!(!posing.concerns(user));
        assert_eq!(posing.to_json()["address"], "10.0.0.1");
        let ordered =
            entry(&format!("delete_user user:{user} nik; by the operator"), UserId::NOBODY);
        assert!(
            ordered.to_text().ends_with(&format!("the operator: delete_user user:{user} nik")),
            "{}",
            ordered.to_text()
        );
        assert_eq!(
            (ordered.to_json()["by_operator"].as_bool(), &ordered.to_json()["name"]),
            (Some(true), &"nik".into())
        );
    }
}
