//! Fixed-size identifiers: users, groups, devices, tracker stores and requests.
//!
//! **Invariant:** an id is opaque; nothing but equality and a total order is ever read from its
//! bytes.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

use super::{GroupName, UserName};

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of {want} hexadecimal digits was expected")]
pub struct ParseIdError {
    want: usize,
}

/// Defines one opaque identifier of `$len` bytes, shown in lower-case hexadecimal.
macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length of the id in bytes.
            pub const LEN: usize = $len;

            /// Wraps bytes that came from a peer, a store or a random source.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Returns the id's bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&data_encoding::HEXLOWER.encode_display(&self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = $crate::types::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::types::id::parse_hex(text).map(Self)
            }
        }
    };
}
pub(crate) use opaque_id;

opaque_id!(
    /// A user, whatever the name says today.
    UserId,
    16
);
opaque_id!(
    /// A group, whatever the name says today.
    GroupId,
    16
);
opaque_id!(
    /// A tracker's store: made at random, anew at each start of the tracker.
    StoreId,
    16
);
opaque_id!(
    /// A file's content: a hash over every fact about it, so that a listing with a false fact is
    /// another file.
    FileId,
    20
);
opaque_id!(
    /// One changing request of one client; a retry carries the same id.
    RequestId,
    16
);
opaque_id!(
    /// One installed client: a data directory and an identity.
    DeviceId,
    32
);

impl UserId {
    /// Stands for "nobody yet": the actor of a request that creates an account.
    pub const NOBODY: Self = Self([0; 16]);

    /// Derives the id of the account that `request` creates, equal on every tracker that carries
    /// the request out.
    pub fn derive(name: &UserName, request: RequestId) -> Self {
        Self(derive(b"user", name.as_str(), Self::NOBODY, request))
    }
}

impl GroupId {
    /// Derives the id of the group that `creator` makes with `request`, equal on every tracker that
    /// carries it out.
    pub fn derive(name: &GroupName, creator: UserId, request: RequestId) -> Self {
        Self(derive(b"group", name.as_str(), creator, request))
    }
}

/// Hashes kind, name, creator and request id; the first 16 bytes of SHA-256 are the id. Variable
/// parts are preceded by their length, so that no two inputs run together.
fn derive(kind: &[u8], name: &str, creator: UserId, request: RequestId) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in [kind, name.as_bytes()] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(creator.as_bytes());
    hasher.update(request.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize()[..16]);
    id
}

/// Reads exactly `N` bytes of hexadecimal.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let fail = ParseIdError { want: N * 2 };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return Err(fail);
    }
    HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| fail)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_and_read_back() {
        let id = StoreId::from_bytes(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("0011".parse::<StoreId>().is_err());
        assert!("zz112233445566778899aabbccddeeff".parse::<StoreId>().is_err());
        assert!("é".repeat(16).parse::<StoreId>().is_err());
    }

    #[test]
    fn derived_ids_differ_by_each_part() {
        let request = RequestId::from_bytes([1; 16]);
        let user = UserId::derive(&"nik".parse().unwrap(), request);
        let group = |name: &str, creator, request| {
            GroupId::derive(&name.parse().unwrap(), creator, request)
        };
        assert_eq!(user, UserId::derive(&"nik".parse().unwrap(), request));
        assert_ne!(user, UserId::derive(&"nik".parse().unwrap(), RequestId::from_bytes([2; 16])));
        assert_ne!(group("lab", user, request), group("lab", UserId::NOBODY, request));
        assert_ne!(group("lab", user, request).as_bytes(), user.as_bytes());
    }
}
