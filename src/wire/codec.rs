//! The building blocks of the tracker protocol's encoding: integers, strings, lists, options and tagged messages.
//!
//! | shape | bytes |
//! |---|---|
//! | `u8` `u16` `u32` `u64` | big-endian |
//! | `bool` | one byte, 0 or 1 |
//! | id, digest | its bytes, no length |
//! | text, name | `u16` length, UTF-8 |
//! | list | `u32` count, items |
//! | option | one byte 0, or 1 and the value |
//! | block | `u32` length of all that follows, content |
//! | structure (`wire_struct!`) | a block: the fields in order |
//! | message (`wire_enum!`) | one byte tag, a block: the fields in order |
//! | leaf (`wire_leaf!`, `wire_leaf_enum!`) | the same without the block |
//!
//! A later version adds fields at the end of a block, and a reader skips what it does not know there. A
//! leaf never changes: parts of keys ([`Version`], [`Place`], [`RequestStamp`]), what a signature covers
//! ([`TokenClaims`], [`TicketClaims`] and what holds them), [`Effect`], and enums without fields.
//!
//! **Invariant:** a count or length is checked against its limit and against the bytes that are left
//! before anything is allocated, and nothing is read beyond the end of a block.

use std::net::{IpAddr, SocketAddr};

use byteorder::{BigEndian, ByteOrder};

use super::VersionRange;
use crate::types::{
    DeviceId, DownloadState, Effect, FileEntry, FileFacts, FileId, FileName, FileOrder, GroupEntry, GroupId, GroupName, InfoHash,
    Label, Limit, MemberEntry, MembershipState, Part, Password, PasswordHash, Pattern, PeerEntry, Place, RequestEntry, RequestId,
    RequestStamp, SessionToken, SettingName, Sha1Digest, Signature, Stamp, StoreId, Success, Ticket, TicketClaims, TokenClaims,
    TrackerEntry, TrackerState, UserEntry, UserId, UserName, Version, limits,
};

/// Bytes in a setting's name.
pub const SETTING_NAME_LEN_MAX: usize = 300;

/// Names of sharers in a file's entry; how many there are in all stands beside them.
pub const SHARERS_SHOWN_MAX: usize = 8;

/// Peers in one reply to an announce of many files, at most [`limits::PEERS_PER_ANSWER_MAX`] of each: more fill no frame.
pub const PEERS_PER_FRAME_MAX: usize = 32_768;

/// Says why bytes are not a message. Whoever sent them is not to be talked to any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends before its last field.
    #[error("message cut short: {want} more bytes were expected")]
    Truncated {
        /// Bytes missing at that point.
        want: usize,
    },
    /// The message goes on after its last field.
    #[error("{0} bytes too many at the end of a message")]
    Trailing(usize),
    /// A tag that this version does not know.
    #[error("unknown {what} {tag}")]
    UnknownTag {
        /// The kind of message.
        what: &'static str,
        /// The tag.
        tag: u64,
    },
    /// A count or length beyond its limit.
    #[error("{what} of {len} is beyond the limit of {max}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// As sent.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The other end speaks only this version, which is older than ranges of versions.
    #[error("the other end speaks version {0} of the protocol alone; update it")]
    OldVersion(u16),
    /// The other end speaks no version that this program speaks.
    #[error("the other end speaks versions {0} of the protocol, this program {ours}", ours = VersionRange::OURS)]
    NoCommonVersion(VersionRange),
    /// A value that its type does not allow.
    #[error("bad {what}: {why}")]
    BadValue {
        /// Which value.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

impl WireError {
    /// Wraps the error of a validating constructor.
    pub fn bad(what: &'static str, why: impl ToString) -> Self {
        Self::BadValue { what, why: why.to_string() }
    }
}

/// Reads values off the front of a message body.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Number of bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(WireError::Truncated { want: len - self.rest.len() }),
        }
    }

    /// Takes exactly `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Takes a block: its length, and a decoder for its content.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the content is not all there.
    pub fn block(&mut self) -> Result<Self, WireError> {
        let len = u32::decode(self)? as usize;
        self.bytes(len).map(Self::new)
    }

    /// Takes a block of at most `max` bytes, without its length.
    ///
    /// # Errors
    /// [`WireError::TooLong`] beyond `max`, [`WireError::Truncated`] if the content is not all there.
    pub fn block_within(&mut self, what: &'static str, max: usize) -> Result<Self, WireError> {
        let len = u32::decode(self)? as usize;
        if len > max {
            return Err(WireError::TooLong { what, len: len as u64, max: max as u64 });
        }
        self.bytes(len).map(Self::new)
    }

    /// Takes all bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Takes the count of a list of items of at least `item_len_min` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`] beyond `max`, [`WireError::Truncated`] if the bytes left cannot hold that many.
    pub fn count(&mut self, what: &'static str, max: usize, item_len_min: usize) -> Result<usize, WireError> {
        let count = u32::decode(self)? as usize;
        if count > max {
            return Err(WireError::TooLong { what, len: count as u64, max: max as u64 });
        }
        match count.saturating_mul(item_len_min.max(1)).checked_sub(self.remaining()) {
            Some(want @ 1..) => Err(WireError::Truncated { want }),
            _ => Ok(count),
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}

/// A value with one encoding.
pub trait Wire: Sized {
    /// The fewest bytes any value takes: bounds what a hostile count can allocate.
    const LEN_MIN: usize;

    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value.
    ///
    /// # Errors
    /// Every [`WireError`] but [`WireError::Trailing`].
    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError>;

    /// Encodes a whole message body.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Decodes a whole message body.
    ///
    /// # Errors
    /// Every [`WireError`]; bytes behind the value are one.
    fn from_bytes(body: &[u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::new(body);
        let value = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(value)
    }
}

/// Implements [`Wire`] for an integer.
macro_rules! wire_integer {
    ($($type:ident $write:ident $read:ident)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = size_of::<$type>();

            fn encode(&self, out: &mut Vec<u8>) {
                let mut bytes = [0; size_of::<$type>()];
                BigEndian::$write(&mut bytes, *self);
                out.extend_from_slice(&bytes);
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                Ok(BigEndian::$read(from.bytes(size_of::<$type>())?))
            }
        }
    )*};
}
wire_integer!(u16 write_u16 read_u16 u32 write_u32 read_u32 u64 write_u64 read_u64);

impl Wire for u8 {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(from.bytes(1)?[0])
    }
}

impl Wire for bool {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        match u8::decode(from)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::UnknownTag { what: "bool", tag: tag.into() }),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        if bool::decode(from)? { T::decode(from).map(Some) } else { Ok(None) }
    }
}

/// The fields of a structure, in order and without their length.
pub(crate) trait Fields: Sized {
    /// The fewest bytes that the fields take.
    const FIELDS_LEN_MIN: usize;

    /// Appends the fields to `out`.
    fn encode_fields(&self, out: &mut Vec<u8>);

    /// Reads the fields.
    ///
    /// # Errors
    /// Those of the fields.
    fn decode_fields(from: &mut Decoder<'_>) -> Result<Self, WireError>;
}

/// Appends a block whose content `write` appends.
///
/// # Panics
/// If the content reaches 4 GiB.
pub fn encode_block(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = u32::try_from(out.len() - start - 4).expect("no structure of ours reaches 4 GiB");
    BigEndian::write_u32(&mut out[start..start + 4], len);
}

/// Two values, one behind the other.
impl<A: Wire, B: Wire> Wire for (A, B) {
    const LEN_MIN: usize = A::LEN_MIN + B::LEN_MIN;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}

/// Appends a list.
pub fn encode_list<T: Wire>(items: &[T], out: &mut Vec<u8>) {
    (items.len() as u32).encode(out);
    items.iter().for_each(|item| item.encode(out));
}

/// Reads a list of at most `max` items.
///
/// # Errors
/// Those of [`Decoder::count`] and of the items.
pub fn decode_list<T: Wire>(from: &mut Decoder<'_>, what: &'static str, max: usize) -> Result<Vec<T>, WireError> {
    let count = from.count(what, max, T::LEN_MIN)?;
    // An item may be far larger in memory than its fewest bytes here: what has arrived bounds what is set aside.
    let mut items = Vec::with_capacity(count.min(from.remaining() / size_of::<T>().max(1) + 1));
    for _ in 0..count {
        items.push(T::decode(from)?);
    }
    Ok(items)
}

/// A value that messages hold lists of.
pub trait ListItem: Wire {
    /// The items, for an error.
    const WHAT: &'static str;
    /// The most items in one list. Whoever fills a list cuts it there; [`count_fitting`] tells where.
    const COUNT_MAX: usize;
}

impl<T: ListItem> Wire for Vec<T> {
    const LEN_MIN: usize = 4;

    fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.len() <= T::COUNT_MAX, "a list of {} {} would be refused", self.len(), T::WHAT);
        encode_list(self, out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        decode_list(from, T::WHAT, T::COUNT_MAX)
    }
}

/// Counts the first `items` that one list may hold and that take at most `len_max` bytes together; at least one, if there is one.
///
/// A frame is bounded in bytes ([`limits::TRACKER_FRAME_LEN_MAX`]), so a page or a batch may have to end before its count does.
pub fn count_fitting<T: ListItem>(items: &[T], len_max: usize) -> usize {
    let mut scratch = Vec::new();
    let mut len = 0;
    let fits = |item: &&T| {
        scratch.clear();
        item.encode(&mut scratch);
        len += scratch.len();
        len <= len_max
    };
    items.iter().take(T::COUNT_MAX).take_while(fits).count().max(items.len().min(1))
}

/// Appends a text of at most 65,535 bytes; the types that hold texts are far shorter.
///
/// # Panics
/// If the text is longer.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    u16::try_from(text.len()).expect("texts on the wire are bounded by their types").encode(out);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a text of at most `max` bytes.
///
/// # Errors
/// [`WireError::TooLong`], [`WireError::Truncated`], and [`WireError::BadValue`] for bytes that are not UTF-8.
pub fn decode_text<'a>(from: &mut Decoder<'a>, what: &'static str, max: usize) -> Result<&'a str, WireError> {
    let len = usize::from(u16::decode(from)?);
    if len > max {
        return Err(WireError::TooLong { what, len: len as u64, max: max as u64 });
    }
    std::str::from_utf8(from.bytes(len)?).map_err(|e| WireError::bad(what, e))
}

/// Implements [`Wire`] for opaque ids and digests: their bytes.
macro_rules! wire_opaque {
    ($($type:ident)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = $type::LEN;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                from.array().map($type::from_bytes)
            }
        }
    )*};
}
wire_opaque!(UserId GroupId StoreId FileId RequestId DeviceId Sha1Digest InfoHash Signature);

/// Implements [`Wire`] for validated names: text, checked again by the name's own rules.
macro_rules! wire_name {
    ($($type:ident $what:literal $max:expr;)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = 3;

            fn encode(&self, out: &mut Vec<u8>) {
                encode_text(self.as_str(), out);
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                decode_text(from, $what, $max)?.parse().map_err(|e| WireError::bad($what, e))
            }
        }
    )*};
}
wire_name!(
    UserName "user name" limits::NAME_LEN_MAX;
    GroupName "group name" limits::NAME_LEN_MAX;
    FileName "file name" limits::FILE_NAME_LEN_MAX;
    Label "name" limits::LABEL_LEN_MAX;
    SettingName "setting" SETTING_NAME_LEN_MAX;
    Pattern "pattern" limits::LABEL_LEN_MAX;
);

impl Wire for Password {
    const LEN_MIN: usize = 3;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.expose(), out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let text = decode_text(from, "password", limits::PASSWORD_LEN_MAX)?;
        Self::new(text.to_owned()).map_err(|e| WireError::bad("password", e))
    }
}

impl Wire for PasswordHash {
    const LEN_MIN: usize = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_phc(), out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        decode_text(from, "password hash", limits::PASSWORD_HASH_LEN_MAX).map(|text| Self::from_phc(text.to_owned()))
    }
}

impl Wire for Stamp {
    const LEN_MIN: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_u64().encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        u64::decode(from).map(Self::from_u64)
    }
}

/// Implements [`ListItem`].
macro_rules! list_items {
    ($($type:ident $what:literal $max:expr;)*) => {$(
        impl $crate::wire::codec::ListItem for $type {
            const WHAT: &'static str = $what;
            const COUNT_MAX: usize = $max;
        }
    )*};
}
pub(crate) use list_items;

list_items!(
    Label "names" limits::TRACKERS_MAX;
    GroupEntry "groups" limits::PAGE_ENTRIES_MAX;
    MemberEntry "members" limits::PAGE_ENTRIES_MAX;
    RequestEntry "requests" limits::PAGE_ENTRIES_MAX;
    FileEntry "files" limits::PAGE_ENTRIES_MAX;
    PeerEntry "peers" PEERS_PER_FRAME_MAX;
    TrackerEntry "trackers" limits::TRACKERS_MAX;
    GroupId "groups" limits::TICKETS_PER_REQUEST_MAX;
    Ticket "tickets" limits::TICKETS_PER_REQUEST_MAX;
);

/// A socket address: one byte 4 or 6, the address, `u16` port.
impl Wire for SocketAddr {
    const LEN_MIN: usize = 7;

    fn encode(&self, out: &mut Vec<u8>) {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        self.port().encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let ip: IpAddr = match u8::decode(from)? {
            4 => from.array::<4>()?.into(),
            6 => from.array::<16>()?.into(),
            tag => return Err(WireError::UnknownTag { what: "address family", tag: tag.into() }),
        };
        Ok(Self::new(ip, u16::decode(from)?))
    }
}

/// Implements [`Fields`] for a struct: its fields in the order given.
macro_rules! wire_fields {
    ($($type:ident { $($field:ident : $field_type:ty),* $(,)? })*) => {$(
        impl $crate::wire::codec::Fields for $type {
            const FIELDS_LEN_MIN: usize = 0 $(+ <$field_type as $crate::wire::Wire>::LEN_MIN)*;

            fn encode_fields(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
            }

            fn decode_fields(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: <$field_type as $crate::wire::Wire>::decode(from)?),* })
            }
        }
    )*};
}
pub(crate) use wire_fields;

/// Implements [`Wire`] for a struct: a block with its fields in the order given. Fields that a later
/// version has added behind them are skipped.
macro_rules! wire_struct {
    ($($type:ident { $($field:ident : $field_type:ty),* $(,)? })*) => {$(
        $crate::wire::codec::wire_fields! { $type { $($field : $field_type),* } }

        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 4 + <Self as $crate::wire::codec::Fields>::FIELDS_LEN_MIN;

            fn encode(&self, out: &mut Vec<u8>) {
                $crate::wire::codec::encode_block(out, |out| $crate::wire::codec::Fields::encode_fields(self, out));
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                $crate::wire::codec::Fields::decode_fields(&mut from.block()?)
            }
        }
    )*};
}
pub(crate) use wire_struct;

/// Implements [`Wire`] for a struct that never changes: its fields in the order given.
macro_rules! wire_leaf {
    ($($type:ident { $($field:ident : $field_type:ty),* $(,)? })*) => {$(
        $crate::wire::codec::wire_fields! { $type { $($field : $field_type),* } }

        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = <Self as $crate::wire::codec::Fields>::FIELDS_LEN_MIN;

            fn encode(&self, out: &mut Vec<u8>) {
                $crate::wire::codec::Fields::encode_fields(self, out);
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                $crate::wire::codec::Fields::decode_fields(from)
            }
        }
    )*};
}

/// Implements [`Wire`] for an enum: one byte tag, then a block with the variant's fields in the order
/// given. `#[leaf]` before a variant leaves the block out. A tag that is not there becomes the variant
/// behind `_`, which holds the tag, or an error if there is none.
macro_rules! wire_enum {
    ($type:ident $what:literal {
        $($tag:literal => $(#[$leaf:ident])? $variant:ident $( { $($field:ident),* $(,)? } )? $( ( $inner:ident ) )? ),* $(,)?
        $(_ => $unknown:ident $( { $unknown_field:ident } )? $( ( $unknown_inner:ident ) )? $(,)?)?
    }) => {
        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 1;

            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $( { $($field),* } )? $( ( $inner ) )? => {
                        out.push($tag);
                        let fields = |_out: &mut Vec<u8>| {
                            $($($crate::wire::Wire::encode($field, _out);)*)?
                            $($crate::wire::Wire::encode($inner, _out);)?
                        };
                        if false $(|| stringify!($leaf) == "leaf")? {
                            fields(out);
                        } else {
                            $crate::wire::codec::encode_block(out, fields);
                        }
                    })*
                    $(Self::$unknown $( { $unknown_field } )? $( ( $unknown_inner ) )? => {
                        $(out.push(*$unknown_field);)?
                        $(out.push(*$unknown_inner);)?
                        $crate::wire::codec::encode_block(out, |_| {});
                    })?
                }
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                let tag = <u8 as $crate::wire::Wire>::decode(from)?;
                match tag {
                    $($tag => {
                        let mut block;
                        let _from = if false $(|| stringify!($leaf) == "leaf")? {
                            from
                        } else {
                            block = from.block()?;
                            &mut block
                        };
                        $($(let $field = $crate::wire::Wire::decode(_from)?;)*)?
                        $(let $inner = $crate::wire::Wire::decode(_from)?;)?
                        Ok(Self::$variant $( { $($field),* } )? $( ( $inner ) )?)
                    })*
                    $(_ => {
                        from.block()?;
                        $(let $unknown_field = tag;)?
                        $(let $unknown_inner = tag;)?
                        Ok(Self::$unknown $( { $unknown_field } )? $( ( $unknown_inner ) )?)
                    })?
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::wire::WireError::UnknownTag { what: $what, tag: tag.into() }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

/// Implements [`Wire`] for an enum that never changes: one byte tag, then the variant's fields in the
/// order given.
macro_rules! wire_leaf_enum {
    ($type:ident $what:literal { $($tag:literal => $variant:ident $( ( $inner:ident ) )? ),* $(,)? }) => {
        $crate::wire::codec::wire_enum!($type $what { $($tag => #[leaf] $variant $( ( $inner ) )?),* });
    };
}
pub(crate) use wire_leaf_enum;

wire_struct! {
    FileFacts {
        info_hash: InfoHash, name: FileName, len: u64, piece_len: u32, sha1: Sha1Digest,
        chain: Option<Sha1Digest>,
    }
    UserEntry { user: UserId, label: Label }
    GroupEntry { group: GroupId, label: Label, part: Part, member_count: u32, owner: Label }
    MemberEntry { user: UserEntry, owner: bool, online: bool, since: Stamp }
    RequestEntry { user: UserEntry, since: Stamp }
    FileEntry {
        group: GroupId, label: Label, facts: FileFacts, sharers: Vec<Label>, sharer_count: u32,
        online: u32, at: Stamp,
    }
    PeerEntry {
        info_hash: InfoHash, group: GroupId, device: DeviceId, user: UserId, address: SocketAddr,
        state: DownloadState,
    }
    TrackerEntry { number: u32, address: Label, state: TrackerState, lag: u64 }
    Success { effect: Effect, stamp: Stamp }
}
wire_leaf! {
    Version { stamp: Stamp, request: RequestId }
    Place { store: StoreId, sequence: u64 }
    RequestStamp { id: RequestId, at: Stamp }
    TokenClaims { user: UserId, device: DeviceId, password: Version, issued_ms: u64, expires_ms: u64 }
    SessionToken { claims: TokenClaims, signature: Signature }
    TicketClaims { group: GroupId, user: UserId, device: DeviceId, issued_ms: u64, expires_ms: u64 }
    Ticket { claims: TicketClaims, signature: Signature }
}
wire_leaf_enum!(Effect "effect" { 0 => Done, 1 => User(user), 2 => Group(group) });
wire_leaf_enum!(Part "part" { 0 => Stranger, 1 => Requested, 2 => Member, 3 => Owner });
wire_leaf_enum!(DownloadState "download state" { 0 => Stopped, 1 => Leeching, 2 => Seeding });
wire_leaf_enum!(MembershipState "membership" { 0 => None, 1 => Requested, 2 => Member });
wire_leaf_enum!(TrackerState "tracker state" {
    0 => Myself, 1 => Up, 2 => CatchingUp, 3 => Down, 4 => MustResync,
});
wire_leaf_enum!(FileOrder "order" { 0 => Name, 1 => Size, 2 => Date });
wire_leaf_enum!(Limit "limit" { 0 => Groups, 1 => Memberships, 2 => Files, 3 => Members });

#[cfg(test)]
mod tests;
