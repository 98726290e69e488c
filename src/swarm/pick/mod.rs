//! Which piece from which link: the picker, downloads, request windows, the endgame, and what
//! pieces are checked by.
//!
//! Pure.

pub(crate) mod chain;
pub(crate) mod check;
pub(crate) mod download;
pub(crate) mod parts;
pub(crate) mod picker;
pub(crate) mod window;
pub(crate) mod zeros;
