//! The commands of a client.
//!
//! Users, groups and files are named by the names that are shown. Paths belong to the machine of the
//! client; a relative path begins at the client's working directory.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::http::access::Rights;
use crate::types::{FileOrder, InfoHash, Password, Pattern, Rate};

/// Selects one page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// [`Page::next`](super::Page::next) of the previous page; `None` selects the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The maximum number of entries; a page may hold fewer.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The link of an invitation, or the beginning of its id, as it was typed. It prints as
/// `[redacted]`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
pub struct LinkText(#[schemars(with = "String")] Zeroizing<String>);

impl LinkText {
    /// Takes what was typed.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Shows it to the code that parses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for LinkText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for LinkText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "docs/JSON.md describes the fields")]
pub enum Command {
    /// Creates an account; with an invitation, one that is a member of its group.
    CreateUser {
        user: String,
        #[serde(with = "secret")]
        #[schemars(with = "secret::Text")]
        password: Password,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitation: Option<LinkText>,
    },
    /// Starts a session. Returns the account. With `stay` this device logs in by its key from now
    /// on.
    Login {
        user: String,
        #[serde(with = "secret")]
        #[schemars(with = "secret::Text")]
        password: Password,
        #[serde(default)]
        stay: bool,
    },
    /// Ends the session.
    Logout,
    /// Replaces the user's password.
    ChangePassword {
        #[serde(with = "secret")]
        #[schemars(with = "secret::Text")]
        old: Password,
        #[serde(with = "secret")]
        #[schemars(with = "secret::Text")]
        new: Password,
    },
    /// Deletes the user's account. Returns the deleted account.
    DeleteAccount,
    /// Returns the account of the session.
    Whoami,
    /// Lists the devices that may log in as the user, and those that are logged in.
    Devices,
    /// Ends a device's right to log in, and its session. Returns the device.
    ForgetDevice { device: String },
    /// Returns what happened and was not shown yet, or with `all` whatever is kept.
    Notifications {
        #[serde(default)]
        all: bool,
    },
    /// Creates a group.
    CreateGroup { group: String },
    /// Requests to join a group.
    JoinGroup { group: String },
    /// Makes an invitation to a group. Returns its link, which is not shown again.
    Invite {
        group: String,
        /// Users whom it lets in; 1 if nothing is said.
        #[serde(default)]
        uses: Option<u32>,
        /// Days for which it may be used; 7 if nothing is said.
        #[serde(default)]
        days: Option<u32>,
    },
    /// Lists the open invitations that the user may revoke.
    Invites {
        #[serde(flatten)]
        listing: Listing,
    },
    /// Revokes the invitation with that link, or with an id that begins so. Returns it.
    RevokeInvite { invite: LinkText },
    /// Joins a group by the link of an invitation. Returns the group.
    Join { link: LinkText },
    /// Returns what the owner of a group has set, or sets it.
    GroupSettings {
        group: String,
        /// Whether every member may invite.
        #[serde(default)]
        members_invite: Option<bool>,
    },
    /// Leaves a group.
    LeaveGroup { group: String },
    /// Accepts a request to join.
    AcceptRequest { group: String, user: String },
    /// Rejects a request to join.
    RejectRequest { group: String, user: String },
    /// Ends a membership.
    RemoveMember { group: String, user: String },
    /// Hands a group to another member.
    TransferGroup { group: String, user: String },
    /// Gives a group another name.
    RenameGroup { group: String, name: String },
    /// Deletes a group.
    DeleteGroup { group: String },
    /// Tells whether the user is a member of a group of that name.
    IsMember { group: String },
    /// Lists all groups, or those whose names match.
    ListGroups {
        #[serde(default)]
        pattern: Option<Pattern>,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Lists the user's groups.
    ListMyGroups {
        #[serde(flatten)]
        listing: Listing,
    },
    /// Lists a group's members.
    ListMembers {
        group: String,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Lists the pending requests to join a group.
    ListRequests {
        group: String,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Lists the files of a group.
    ListFiles {
        group: String,
        #[serde(default)]
        pattern: Option<Pattern>,
        #[serde(default)]
        order: FileOrder,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Lists the files of all the user's groups whose names match.
    Find {
        pattern: Pattern,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Shares a file. Reports progress while it hashes the file.
    UploadFile {
        #[serde(with = "path")]
        #[schemars(with = "path::Text")]
        path: PathBuf,
        group: String,
        /// Does not read a file again whose size and times are those of an earlier share.
        #[serde(default)]
        trust_stamp: bool,
        /// The path has no links; one that is put there is not followed. It is not in JSON.
        #[serde(skip)]
        is_resolved: bool,
    },
    /// Lists the files that this device offers.
    ShowUploads {
        #[serde(flatten)]
        listing: Listing,
    },
    /// Stops offering a file.
    StopShare { group: String, file: String },
    /// Removes a file from a group.
    RemoveFile { group: String, file: String },
    /// Begins a download. Reports progress while it compares an existing file.
    DownloadFile {
        group: String,
        file: String,
        #[serde(with = "path")]
        #[schemars(with = "path::Text")]
        destination: PathBuf,
        /// In a directory, saves it under a name that every file system takes.
        #[serde(default)]
        rename_safe: bool,
        /// The download need not survive a crash before the next [`Command::Sync`], so that several
        /// downloads share one wait for the disk.
        #[serde(default)]
        soon: bool,
    },
    /// Waits until downloads that were begun with `soon` survive a crash. Returns the result of
    /// each.
    Sync {
        #[serde(default)]
        downloads: Vec<InfoHash>,
    },
    /// Lists downloads in the order in which they were requested.
    ShowDownloads {
        /// Lists running and queued downloads only.
        #[serde(default)]
        unfinished: bool,
        #[serde(flatten)]
        listing: Listing,
    },
    /// Returns the downloads whose end has a number above `after`, and whether others go on.
    ShowEnds {
        #[serde(default)]
        after: u64,
    },
    /// Pauses a download.
    PauseDownload { group: String, file: String },
    /// Resumes a download.
    ResumeDownload { group: String, file: String },
    /// Cancels a download.
    CancelDownload { group: String, file: String },
    /// Moves a download to the front of the queue.
    Prioritize { group: String, file: String },
    /// Sets or clears the rate limit of one download.
    LimitDownload {
        group: String,
        file: String,
        #[serde(default)]
        limit: Option<Rate>,
    },
    /// Explains why a download does not move, one fact a line.
    Why { group: String, file: String },
    /// Lists the links to other devices for a file that is downloaded or shared.
    ShowPeers { group: String, file: String },
    /// Returns a map of the pieces of a file that is downloaded or shared.
    ShowPieces { group: String, file: String },
    /// Returns the limits.
    Limits,
    /// Sets or clears the limit of the upload rate. Returns the limits.
    LimitUploads {
        #[serde(default)]
        limit: Option<Rate>,
    },
    /// Sets or clears the limit of the download rate. Returns the limits.
    LimitDownloads {
        #[serde(default)]
        limit: Option<Rate>,
    },
    /// Sets the number of downloads that run at a time; 0 means any number. Returns the limits.
    LimitRunning { count: usize },
    /// Returns the state of every tracker.
    Trackers,
    /// Returns which addresses this device offers, where trackers see it, and who reached it how.
    Addresses,
    /// Waits for a connection to a tracker and, after the start of a device that stays logged in,
    /// for its login; at the time-out it fails with the reason.
    WaitTrackers { timeout_ms: u64 },
    /// Makes a link that opens the page in a browser, one time.
    Page {
        /// When the browser's token ends at the latest, in milliseconds since 1970. A caller whose
        /// own token ends cannot ask for more.
        #[serde(default)]
        until_ms: Option<u64>,
    },
    /// Lists the tokens by which programs and browsers may use the HTTP API.
    Tokens,
    /// Creates a token. Returns its secret, which is not shown again.
    CreateToken {
        name: String,
        rights: Rights,
        /// Days until it ends; none for no end.
        #[serde(default)]
        days: Option<u32>,
        /// When it ends at the latest, as for [`Command::Page`].
        #[serde(default)]
        until_ms: Option<u64>,
    },
    /// Revokes the token of that name or id, at once.
    RevokeToken { token: String },
    /// Ends the client, after the reply.
    Shutdown,
}

impl Command {
    /// The rights that a caller needs for it.
    pub fn needs(&self) -> Rights {
        match self {
            Self::Whoami
            | Self::Devices
            | Self::IsMember { .. }
            | Self::ListGroups { .. }
            | Self::ListMyGroups { .. }
            | Self::ListMembers { .. }
            | Self::ListRequests { .. }
            | Self::Invites { .. }
            | Self::GroupSettings { members_invite: None, .. }
            | Self::ListFiles { .. }
            | Self::Find { .. }
            | Self::ShowUploads { .. }
            | Self::ShowDownloads { .. }
            | Self::ShowEnds { .. }
            | Self::Why { .. }
            | Self::ShowPeers { .. }
            | Self::ShowPieces { .. }
            | Self::Limits
            | Self::Trackers
            | Self::Addresses
            | Self::WaitTrackers { .. }
            | Self::Tokens => Rights::Read,
            Self::CreateUser { .. }
            | Self::Login { .. }
            | Self::Logout
            | Self::ChangePassword { .. }
            | Self::DeleteAccount
            | Self::ForgetDevice { .. }
            // It marks them as seen.
            | Self::Notifications { .. }
            | Self::CreateGroup { .. }
            | Self::JoinGroup { .. }
            | Self::Invite { .. }
            | Self::RevokeInvite { .. }
            | Self::Join { .. }
            | Self::GroupSettings { .. }
            | Self::LeaveGroup { .. }
            | Self::AcceptRequest { .. }
            | Self::RejectRequest { .. }
            | Self::RemoveMember { .. }
            | Self::TransferGroup { .. }
            | Self::RenameGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::UploadFile { .. }
            | Self::StopShare { .. }
            | Self::RemoveFile { .. }
            | Self::DownloadFile { .. }
            | Self::Sync { .. }
            | Self::PauseDownload { .. }
            | Self::ResumeDownload { .. }
            | Self::CancelDownload { .. }
            | Self::Prioritize { .. }
            | Self::LimitDownload { .. }
            | Self::LimitUploads { .. }
            | Self::LimitDownloads { .. }
            | Self::LimitRunning { .. }
            | Self::Page { .. }
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. }
            | Self::Shutdown => Rights::Manage,
        }
    }

    /// When the token that the command makes ends at the latest.
    pub fn until_mut(&mut self) -> Option<&mut Option<u64>> {
        match self {
            Self::Page { until_ms } | Self::CreateToken { until_ms, .. } => Some(until_ms),
            _ => None,
        }
    }

    /// The path on the client's machine that the command reads or writes.
    pub fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::UploadFile { path, .. } => Some(path),
            Self::DownloadFile { destination, .. } => Some(destination),
            _ => None,
        }
    }
}

/// A password in JSON. Passwords are serialized on their way to the client only.
mod secret {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::types::Password;
    use crate::types::limits::PASSWORD_LEN_MAX;

    /// The schema of a password.
    pub(super) struct Text;

    impl JsonSchema for Text {
        fn schema_name() -> Cow<'static, str> {
            "Password".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "At most 1024 bytes.",
                "type": "string",
                "format": "password",
                "minLength": 1,
                "maxLength": PASSWORD_LEN_MAX,
            })
        }
    }

    pub(super) fn serialize<S: Serializer>(
        password: &Password,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(password.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Password, D::Error> {
        Password::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A path in JSON: a string, or `{"hex":"..."}` if the path is not UTF-8.
mod path {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};

    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    /// A path on the client's machine: a string, or its bytes if they are not UTF-8.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[schemars(rename = "Path")]
    pub(super) enum Text {
        /// A path.
        Plain(String),
        /// A path that is not UTF-8.
        Bytes {
            /// Its bytes, in hexadecimal digits.
            #[schemars(regex(pattern = r"^([0-9a-f]{2})*$"))]
            hex: String,
        },
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match path.to_str() {
            Some(text) => Text::Plain(text.to_owned()),
            None => Text::Bytes { hex: HEXLOWER.encode(path.as_os_str().as_bytes()) },
        };
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        match Text::deserialize(deserializer)? {
            Text::Plain(text) => Ok(text.into()),
            Text::Bytes { hex } => {
                let bytes = HEXLOWER_PERMISSIVE
                    .decode(hex.as_bytes())
                    .map_err(|_| D::Error::custom("a path is no hexadecimal"))?;
                Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn again(command: &Command) -> Command {
        serde_json::from_str(&serde_json::to_string(command).unwrap()).unwrap()
    }

    #[test]
    fn commands_are_read_as_they_are_written() {
        let command: Command =
            serde_json::from_str(r#"{"command":"list_files","group":"lab","limit":3,"new":1}"#)
                .unwrap();
        let listing = Listing { after: None, limit: Some(3) };
        let (group, order) = ("lab".to_owned(), FileOrder::Name);
        assert_eq!(command, Command::ListFiles { group, pattern: None, order, listing });
        assert_eq!(again(&command), command);
        let odd = PathBuf::from(OsStr::from_bytes(b"/tmp/a\xff"));
        for path in [odd, "/tmp/a b".into()] {
            let command = Command::UploadFile {
                path,
                group: "lab".into(),
                trust_stamp: false,
                is_resolved: false,
            };
            assert_eq!(again(&command), command);
        }
        assert!(serde_json::from_str::<Command>(r#"{"command":"of_tomorrow"}"#).is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let password = Password::new("hunter2".into()).unwrap();
        let command = Command::Login { user: "nik".into(), password, stay: false };
        assert!(!format!("{command:?}").contains("hunter2"));
        assert_eq!(again(&command), command);
        let link = LinkText::new("posse:join/hunter2".into());
        for command in
            [Command::Join { link: link.clone() }, Command::RevokeInvite { invite: link }]
        {
            assert!(!format!("{command:?}").contains("hunter2"));
            assert_eq!(again(&command), command);
        }
        let empty = r#"{"command":"login","user":"nik","password":""}"#;
        assert!(serde_json::from_str::<Command>(empty).is_err());
    }
}
