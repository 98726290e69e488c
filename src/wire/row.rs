//! Rows of the directory, as trackers send them and as a store holds them: the bytes are the same.
//!
//! | field | bytes |
//! |---|---|
//! | length of all that follows | `u32`, at most [`limits::ROW_LEN_MAX`] |
//! | kind | `u8` |
//! | key | `u16` length; the ids in order, the group first, or a setting's name |
//! | version | [`Version`]: stamp (8), request (16) |
//! | place | [`Place`]: store (16), sequence (8) |
//! | value | `u32` length; the fields of that kind, then the fields of later versions |
//!
//! | kind | content | key | value |
//! |---|---|---|---|
//! | 0 | user | user | [`UserRow`]; empty once deleted |
//! | 1 | group | group | [`GroupRow`]; empty once deleted |
//! | 2 | membership | group, user | [`MembershipRow`] |
//! | 3 | owner | group | user |
//! | 4 | file | group, file | [`FileRow`]; empty once removed |
//! | 5 | sharing | group, file, user | [`SharingRow`] |
//! | 6 | request | request | [`RequestRow`] |
//! | 7 | setting | name | text; empty restores the default |
//! | 8 | device | user, device | [`DeviceRow`] |
//! | 9 | invitation | group, invitation | [`InvitationRow`] |
//! | 10 | use of an invitation | group, invitation, user | [`InvitationUseRow`] |
//! | 11 | group's settings | group | [`GroupSettings`](crate::types::GroupSettings) |
//! | 12-255 | of a later version | any | any |
//!
//! A later version adds fields at the end of a value, or kinds. Neither is interpreted here, both
//! are kept and relayed. Inside a value nothing has a length of its own, so that nothing is skipped
//! and lost, and nothing follows the value.
//!
//! **Invariant:** a row that decodes encodes to the same bytes, whatever version wrote it.

use super::codec::{Fields, decode_text, encode_block, encode_text, list_items, wire_fields};
use super::{Decoder, Wire, WireError};
use crate::types::{
    Content, DeviceId, DeviceName, DeviceRow, Effect, FileFacts, FileId, FileRow, GroupId,
    GroupName, GroupRow, InvitationId, InvitationRow, InvitationUseRow, MembershipRow,
    MembershipState, PasswordHash, Place, RequestId, RequestRow, Row, RowKey, SettingName,
    SharingRow, Stamp, UserId, UserName, UserRow, Version, limits,
};

/// Rows in one list: a batch, and a transaction that it may not split.
pub const ROWS_PER_LIST_MAX: usize = 2 * limits::ROWS_PER_BATCH_MAX;

/// Bytes of the longest key of ids, with its kind: a group, a file and a user.
pub(crate) const KEY_ROOM: usize = 1 + GroupId::LEN + FileId::LEN + UserId::LEN;

/// The number of the kind of settings.
pub(crate) const SETTING_KIND: u8 = 7;

/// The number of the kind of devices.
pub(crate) const DEVICE_KIND: u8 = 8;

/// The number of the kind of invitations.
pub(crate) const INVITATION_KIND: u8 = 9;

/// The number of the kind of uses of invitations.
pub(crate) const INVITATION_USE_KIND: u8 = 10;

/// The number of the kind of groups' settings.
pub(crate) const GROUP_SETTINGS_KIND: u8 = 11;

/// Encodes a row as it is stored.
pub fn encode_row(row: &Row) -> Vec<u8> {
    row.to_bytes()
}

/// Decodes a row as it is stored.
///
/// # Errors
/// Every [`WireError`]; bytes behind the row are one.
pub fn decode_row(bytes: &[u8]) -> Result<Row, WireError> {
    Row::from_bytes(bytes)
}

/// Returns the number of the key's kind.
pub fn kind(key: &RowKey) -> u8 {
    match key {
        RowKey::User(_) => 0,
        RowKey::Group(_) => 1,
        RowKey::Membership(..) => 2,
        RowKey::Owner(_) => 3,
        RowKey::File(..) => 4,
        RowKey::Sharing(..) => 5,
        RowKey::Request(_) => 6,
        RowKey::Setting(_) => SETTING_KIND,
        RowKey::Device(..) => DEVICE_KIND,
        RowKey::Invitation(..) => INVITATION_KIND,
        RowKey::InvitationUse(..) => INVITATION_USE_KIND,
        RowKey::GroupSettings(_) => GROUP_SETTINGS_KIND,
        RowKey::Unknown(kind, _) => *kind,
    }
}

/// Encodes a key without its kind. Keys of one kind are in the order of their bytes.
pub fn key_bytes(key: &RowKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(KEY_ROOM);
    encode_key(key, &mut out);
    out
}

/// Appends a key without its kind.
pub(crate) fn encode_key(key: &RowKey, out: &mut Vec<u8>) {
    match key {
        RowKey::User(user) => user.encode(out),
        RowKey::Group(group) | RowKey::Owner(group) | RowKey::GroupSettings(group) => {
            group.encode(out);
        }
        RowKey::Membership(group, user) => {
            group.encode(out);
            user.encode(out);
        }
        RowKey::File(group, file) => {
            group.encode(out);
            file.encode(out);
        }
        RowKey::Sharing(group, file, user) => {
            group.encode(out);
            file.encode(out);
            user.encode(out);
        }
        RowKey::Request(request) => request.encode(out),
        RowKey::Setting(name) => out.extend_from_slice(name.as_str().as_bytes()),
        RowKey::Device(user, device) => {
            user.encode(out);
            device.encode(out);
        }
        RowKey::Invitation(group, invitation) => {
            group.encode(out);
            invitation.encode(out);
        }
        RowKey::InvitationUse(group, invitation, user) => {
            group.encode(out);
            invitation.encode(out);
            user.encode(out);
        }
        RowKey::Unknown(_, bytes) => out.extend_from_slice(bytes),
    }
}

/// Decodes a key of that kind.
///
/// # Errors
/// [`WireError::Truncated`] and [`WireError::Trailing`] for a key of another length, and
/// [`WireError::BadValue`] for what is not a setting's name.
pub fn decode_key(kind: u8, bytes: &[u8]) -> Result<RowKey, WireError> {
    let mut from = Decoder::new(bytes);
    let key = match kind {
        0 => RowKey::User(UserId::decode(&mut from)?),
        1 => RowKey::Group(GroupId::decode(&mut from)?),
        2 => RowKey::Membership(GroupId::decode(&mut from)?, UserId::decode(&mut from)?),
        3 => RowKey::Owner(GroupId::decode(&mut from)?),
        4 => RowKey::File(GroupId::decode(&mut from)?, FileId::decode(&mut from)?),
        5 => {
            let (group, file) = (GroupId::decode(&mut from)?, FileId::decode(&mut from)?);
            RowKey::Sharing(group, file, UserId::decode(&mut from)?)
        }
        6 => RowKey::Request(RequestId::decode(&mut from)?),
        SETTING_KIND => RowKey::Setting(setting_name(from.rest())?),
        DEVICE_KIND => RowKey::Device(UserId::decode(&mut from)?, DeviceId::decode(&mut from)?),
        INVITATION_KIND => {
            RowKey::Invitation(GroupId::decode(&mut from)?, InvitationId::decode(&mut from)?)
        }
        INVITATION_USE_KIND => {
            let group = GroupId::decode(&mut from)?;
            let invitation = InvitationId::decode(&mut from)?;
            RowKey::InvitationUse(group, invitation, UserId::decode(&mut from)?)
        }
        GROUP_SETTINGS_KIND => RowKey::GroupSettings(GroupId::decode(&mut from)?),
        _ => RowKey::Unknown(kind, from.rest().to_vec()),
    };
    from.finish()?;
    Ok(key)
}

fn setting_name(bytes: &[u8]) -> Result<SettingName, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|e| WireError::bad("setting", e))?;
    text.parse().map_err(|e| WireError::bad("setting", e))
}

impl Wire for Row {
    const LEN_MIN: usize = 4 + 1 + 2 + Version::LEN_MIN + Place::LEN_MIN + 4;

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        encode_block(out, |out| {
            let key = self.content.key();
            out.push(kind(&key));
            let key_start = out.len() + 2;
            0u16.encode(out);
            encode_key(&key, out);
            let key_len = u16::try_from(out.len() - key_start);
            let key_len = key_len.expect("a row's key is bounded by the row");
            out[key_start - 2..key_start].copy_from_slice(&key_len.to_be_bytes());
            self.version.encode(out);
            self.place.encode(out);
            encode_block(out, |out| {
                let empty = out.len();
                encode_value(&self.content, out);
                // An empty value says that the thing was deleted: nothing can stand behind it.
                if out.len() > empty {
                    out.extend_from_slice(&self.extra);
                }
            });
        });
        debug_assert!(
            out.len() - start - 4 <= limits::ROW_LEN_MAX,
            "a row that would be refused: {self:?}"
        );
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let mut row = from.block_within("row", limits::ROW_LEN_MAX)?;
        let kind = u8::decode(&mut row)?;
        let key_len = u16::decode(&mut row)?;
        let key = decode_key(kind, row.bytes(key_len.into())?).map_err(|e| match e {
            WireError::Trailing(_) => WireError::bad("key of a row", e),
            e => e,
        })?;
        let (version, place) = (Version::decode(&mut row)?, Place::decode(&mut row)?);
        let mut value = row.block()?;
        if row.remaining() > 0 {
            return Err(WireError::bad("row", "bytes follow its value"));
        }
        let content = decode_value(key, &mut value)?;
        Ok(Self { content, version, place, extra: value.rest().into() })
    }
}

fn encode_value(content: &Content, out: &mut Vec<u8>) {
    match content {
        Content::User(_, row) => row.iter().for_each(|row| row.encode_fields(out)),
        Content::Group(_, row) => row.iter().for_each(|row| row.encode_fields(out)),
        Content::Membership(_, _, row) => row.encode_fields(out),
        Content::Owner(_, user) => user.encode(out),
        Content::File(_, _, row) => row.iter().for_each(|row| row.encode_fields(out)),
        Content::Sharing(_, _, _, row) => row.encode_fields(out),
        Content::Request(_, row) => row.encode_fields(out),
        Content::Setting(_, value) => value.iter().for_each(|value| encode_text(value, out)),
        Content::Device(_, _, row) => row.encode_fields(out),
        Content::Invitation(_, _, row) => row.encode_fields(out),
        Content::InvitationUse(_, _, _, row) => row.encode_fields(out),
        Content::GroupSettings(_, row) => row.encode_fields(out),
        Content::Unknown(_, _, value) => out.extend_from_slice(value),
    }
}

fn decode_value(key: RowKey, from: &mut Decoder<'_>) -> Result<Content, WireError> {
    Ok(match key {
        RowKey::User(user) => Content::User(user, optional(from)?),
        RowKey::Group(group) => Content::Group(group, optional(from)?),
        RowKey::Membership(group, user) => {
            Content::Membership(group, user, Fields::decode_fields(from)?)
        }
        RowKey::Owner(group) => Content::Owner(group, Wire::decode(from)?),
        RowKey::File(group, file) => Content::File(group, file, optional(from)?),
        RowKey::Sharing(group, file, user) => {
            Content::Sharing(group, file, user, Fields::decode_fields(from)?)
        }
        RowKey::Request(request) => Content::Request(request, Fields::decode_fields(from)?),
        RowKey::Setting(name) if from.remaining() == 0 => Content::Setting(name, None),
        RowKey::Setting(name) => {
            let value = decode_text(from, "value of a setting", limits::ROW_LEN_MAX)?;
            Content::Setting(name, Some(value.to_owned()))
        }
        RowKey::Device(user, device) => Content::Device(user, device, Fields::decode_fields(from)?),
        RowKey::Invitation(group, invitation) => {
            Content::Invitation(group, invitation, Fields::decode_fields(from)?)
        }
        RowKey::InvitationUse(group, invitation, user) => {
            Content::InvitationUse(group, invitation, user, Fields::decode_fields(from)?)
        }
        RowKey::GroupSettings(group) => Content::GroupSettings(group, Fields::decode_fields(from)?),
        RowKey::Unknown(kind, key) => Content::Unknown(kind, key, from.rest().to_vec()),
    })
}

/// Reads a value that is empty once what it describes was deleted.
fn optional<T: Fields>(from: &mut Decoder<'_>) -> Result<Option<T>, WireError> {
    if from.remaining() == 0 { Ok(None) } else { T::decode_fields(from).map(Some) }
}

wire_fields! {
    UserRow {
        name: UserName, hash: PasswordHash, created: Stamp, replaced: Option<Stamp>,
        must_change: bool, is_disabled: bool,
    }
    GroupRow { name: GroupName, created_by: UserId, created: Stamp }
    MembershipRow { state: MembershipState, since: Stamp, ended: Option<Stamp> }
    SharingRow { on: bool, admission: RequestId }
    DeviceRow {
        on: bool, name: Option<DeviceName>, since: Stamp, password: Version, ended: Option<Stamp>,
    }
    InvitationRow {
        inviter: UserId, created: Stamp, expires_ms: u64, uses: u32, is_revoked: bool,
    }
    InvitationUseRow { inviter: UserId }
}

/// The facts without a length of their own, then the rest.
impl Fields for FileRow {
    const FIELDS_LEN_MIN: usize = FileFacts::FIELDS_LEN_MIN + UserId::LEN + 8 + 1 + 1;

    fn encode_fields(&self, out: &mut Vec<u8>) {
        self.facts.encode_fields(out);
        self.shared_by.encode(out);
        self.at.encode(out);
        self.replaces.encode(out);
        self.removed.encode(out);
    }

    fn decode_fields(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(Self {
            facts: FileFacts::decode_fields(from)?,
            shared_by: Wire::decode(from)?,
            at: Wire::decode(from)?,
            replaces: Wire::decode(from)?,
            removed: Wire::decode(from)?,
        })
    }
}

impl Fields for RequestRow {
    const FIELDS_LEN_MIN: usize = UserId::LEN + Effect::LEN_MIN + 2;

    fn encode_fields(&self, out: &mut Vec<u8>) {
        self.actor.encode(out);
        self.effect.encode(out);
        encode_text(&self.note, out);
    }

    fn decode_fields(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let (actor, effect) = (Wire::decode(from)?, Wire::decode(from)?);
        let note = decode_text(from, "note of a request", limits::NOTE_LEN_MAX)?.to_owned();
        Ok(Self { actor, effect, note })
    }
}

list_items!(Row "rows" ROWS_PER_LIST_MAX;);

#[cfg(test)]
mod tests;
