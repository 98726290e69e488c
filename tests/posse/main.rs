//! Real processes, driven as people and scripts drive them: what Posse promises, proved from outside.
//!
//! **Invariant:** a test owns everything it starts: its own directory, its own ports, its own processes, which end with it. A test
//! waits for conditions with a deadline, never for a while. When it fails, everything its processes said is printed.
//!
//! | module | proves |
//! |---|---|
//! | [`starting`] | the forms of the command lines and the exit statuses |
//! | [`commands`] | each row of the command table with its refusals, plain and as JSON |
//! | [`scripts`], [`terminal`] | clients driven by pipes, files and `-c`, and at a terminal |
//! | [`storm`], [`partition`], [`restart`] | the directory survives what happens to trackers |
//! | [`transfers`], [`again`], [`resume`], [`corrupt`], [`disk`], [`names`] | files arrive whole or not at all |
//! | [`paths`] | links and pipes in a download's place, other files in a shared one's, misleading names |
//! | [`hostile`] | garbage, slow, oversized and idle connections |
//! | [`failures`] | each line of the list of what systems of this kind got wrong |

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

mod again;
mod commands;
mod corrupt;
mod disk;
mod failures;
mod harness;
mod hostile;
mod names;
mod partition;
mod paths;
mod restart;
mod resume;
mod scripts;
mod starting;
mod storm;
mod terminal;
mod transfers;
