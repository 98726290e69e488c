//! Tests of the download.
