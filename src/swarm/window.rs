//! How far requests run ahead of data.
