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
//! | tagged message | one byte tag, fields in order |
//!
//! **Invariant:** a count is checked against its limit and against the bytes that are left before anything is allocated.

use std::net::{IpAddr, SocketAddr};

use byteorder::{BigEndian, ByteOrder};

use crate::types::{
    DeviceId, DownloadState, FileEntry, FileFacts, FileName, GroupEntry, GroupId, GroupName, InfoHash, Label, MemberEntry,
    MembershipState, OriginId, Part, Password, PasswordHash, PeerEntry, RequestEntry, RequestId, SessionToken, Sha1Digest,
    Signature, Stamp, Tag, Ticket, TicketClaims, TokenClaims, TrackerEntry, TrackerState, UserEntry, UserId, UserName, limits,
};

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
wire_opaque!(UserId GroupId OriginId RequestId DeviceId Sha1Digest InfoHash Signature);

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
    Label "sharers" SHARERS_SHOWN_MAX;
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

/// Implements [`Wire`] for a struct: its fields in the order given.
macro_rules! wire_struct {
    ($($type:ident { $($field:ident : $field_type:ty),* $(,)? })*) => {$(
        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 0 $(+ <$field_type as $crate::wire::Wire>::LEN_MIN)*;

            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: <$field_type as $crate::wire::Wire>::decode(from)?),* })
            }
        }
    )*};
}
pub(crate) use wire_struct;

/// Implements [`Wire`] for an enum: one byte tag, then the variant's fields in the order given.
macro_rules! wire_enum {
    ($type:ident $what:literal { $($tag:literal => $variant:ident $( { $($field:ident),* $(,)? } )? $( ( $inner:ident ) )? ),* $(,)? }) => {
        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 1;

            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $( { $($field),* } )? $( ( $inner ) )? => {
                        out.push($tag);
                        $($($crate::wire::Wire::encode($field, out);)*)?
                        $($crate::wire::Wire::encode($inner, out);)?
                    })*
                }
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                match <u8 as $crate::wire::Wire>::decode(from)? {
                    $($tag => {
                        $($(let $field = $crate::wire::Wire::decode(from)?;)*)?
                        $(let $inner = $crate::wire::Wire::decode(from)?;)?
                        Ok(Self::$variant $( { $($field),* } )? $( ( $inner ) )?)
                    })*
                    tag => Err($crate::wire::WireError::UnknownTag { what: $what, tag: tag.into() }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_struct! {
    FileFacts { info_hash: InfoHash, name: FileName, len: u64, piece_len: u32, sha1: Sha1Digest }
    UserEntry { user: UserId, label: Label }
    GroupEntry { group: GroupId, label: Label, part: Part, member_count: u32, owner: Label }
    MemberEntry { user: UserEntry, owner: bool, online: bool, since: Stamp }
    RequestEntry { user: UserEntry, since: Stamp }
    FileEntry { group: GroupId, label: Label, facts: FileFacts, sharers: Vec<Label>, sharer_count: u32, online: u32 }
    PeerEntry { info_hash: InfoHash, group: GroupId, device: DeviceId, user: UserId, address: SocketAddr, state: DownloadState }
    TrackerEntry { number: u32, address: Label, state: TrackerState, lag: u64 }
    Tag { stamp: Stamp, origin: OriginId }
    TokenClaims { user: UserId, device: DeviceId, password: Tag, issued_ms: u64, expires_ms: u64 }
    SessionToken { claims: TokenClaims, signature: Signature }
    TicketClaims { group: GroupId, user: UserId, device: DeviceId, issued_ms: u64, expires_ms: u64 }
    Ticket { claims: TicketClaims, signature: Signature }
}
wire_enum!(Part "part" { 0 => Stranger, 1 => Requested, 2 => Member, 3 => Owner });
wire_enum!(DownloadState "download state" { 0 => Stopped, 1 => Leeching, 2 => Seeding });
wire_enum!(MembershipState "membership" { 0 => None, 1 => Requested, 2 => Member });
wire_enum!(TrackerState "tracker state" { 0 => Myself, 1 => Up, 2 => CatchingUp, 3 => Down, 4 => ClockAhead });

#[cfg(test)]
mod tests;
