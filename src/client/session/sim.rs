//! A session under faults.
