//! An invented later version of this program, for the test that runs it beside this one.
//!
//! With the feature `later-version` every structure has one more field, every row that is written
//! too; trackers write rows of another kind and send events and frames that this version does not
//! know, and clients ask what this version does not know. Nothing of that is in a build without the
//! feature.
//!
//! **Invariant:** without the feature nothing here adds a byte.

/// A field that this version does not know.
#[cfg(feature = "later-version")]
pub const FIELD: &[u8] = b"a field of a later version";

/// The kind, or tag, of what this version does not know.
#[cfg(feature = "later-version")]
pub const TAG: u8 = 77;

/// Adds a field that this version does not know.
pub(super) fn add_field(_out: &mut Vec<u8>) {
    #[cfg(feature = "later-version")]
    _out.extend_from_slice(FIELD);
}
