//! Real processes, driven as people and scripts drive them: what Posse promises, proved from
//! outside.
//!
//! **Invariant:** a test owns everything it starts: its own directory, its own ports, its own
//! processes, which end with it. A test waits for conditions with a deadline, never for a while.
//! When it fails, everything its processes said is printed.
//!
//! | module | proves |
//! |---|---|
//! | [`starting`] | the forms of the command lines and the exit statuses |
//! | [`commands`] | each row of the command table with its refusals, plain and as JSON |
//! | [`trackers`] | where trackers listen, and where they keep their data |
//! | [`scripts`], [`terminal`] | clients driven by pipes, files and `-c`, and at a terminal |
//! | [`attached`] | a client as a service, and several programs that use one running client |
//! | [`streaming`] | a file's content by ranges, while it is downloaded and afterwards |
//! | [`page`], [`transmission`] | the pages and the HTTP APIs, and Transmission's RPC |
//! | [`supervised`] | a service that is killed and started again goes on by itself |
//! | [`full_data_directory`] | what a client answers without room for its state holds |
//! | [`hanging`] | a mount that hangs holds up its own files alone |
//! | [`disturbed`] | what other programs do to a download's file, and file systems that lack calls |
//! | [`away`] | shared files that are deleted, unmounted, or cannot be read, and come back |
//! | [`reaching`] | members meet at any of their addresses, and nobody is sent elsewhere |
//! | [`punching`] | members behind routers that let nobody in meet all the same |
//! | [`relayed`], [`taking_over`] | members who cannot reach each other meet at a relay, and leave it as soon as they can |
//! | [`lan`] | members on one network find each other without a tracker, and strangers learn little |
//! | [`routers`] | routers are asked to forward a client's port, and what comes of it |
//! | [`moving`] | machines that get another address, cables that are out |
//! | [`storm`], [`partition`], [`restart`] | the directory survives what happens to trackers |
//! | [`data_directories`] | where a client keeps its state, and how it goes on from it |
//! | [`notifications`] | what owners and others are told of requests to join, and what is kept of events |
//! | [`staying`] | devices that log in by their key, and devices that are forgotten |
//! | [`invitations`] | links let newcomers in, until something ends them, and leave no trace |
//! | [`older`] | stores of the version before encryption |
//! | [`transfers`], [`again`], [`resume`], [`corrupt`], [`disk`], [`names`] | files arrive whole or not at all |
//! | [`versions_of_files`] | a changed file takes the place of its version; what is renamed, removed, deleted, found and sorted |
//! | [`sources`] | a file comes from another common group, and from this disk, and nobody gets more than they may |
//! | [`many`] | what was said of hundreds of small files at once holds |
//! | [`limits`] | limits, and the order of downloads |
//! | [`paths`] | links and pipes in a download's place, other files in a shared one's, misleading names |
//! | [`secrecy`] | somebody who records everything learns nothing, and somebody who alters anything ends that connection alone |
//! | [`intruders`] | false trackers, strangers, borrowed and expired tokens and tickets |
//! | [`hostile`] | garbage, slow, oversized and idle connections |
//! | [`documents`] | what the documents name is there |
//! | [`membership`] | tickets and tokens: who is no member any more gets nothing more, at once and everywhere |
//! | [`floods`] | wrong passwords, slow handshakes, accounts by the thousand: honest people are served all the while |
//! | [`reports`] | a sharer learns that its file is not what it was, and that nobody reaches it |
//! | [`truth`] | a client says what is so, of its own doing, of what moves, and of where changes are safe |
//! | [`chaos`] | the rules by which `benches/chaos.rs` judges a directory after faults |
//! | `sql` | trackers that share a database, with the feature `postgres` |
//! | `sql_tls` | TLS between them and that database, with the same feature |
//! | [`operating`] | the operator's procedures, as docs/OPERATING.md tells them |
//! | [`failures`] | each line of the list of what systems of this kind got wrong |

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

mod again;
mod attached;
mod away;
mod chaos;
mod commands;
mod corrupt;
mod data_directories;
mod disk;
mod disturbed;
mod documents;
mod failures;
mod floods;
mod full_data_directory;
mod hanging;
mod harness;
mod hostile;
mod intruders;
mod invitations;
mod lan;
mod limits;
mod many;
mod membership;
mod moving;
mod names;
mod notifications;
mod older;
mod operating;
mod page;
mod partition;
mod paths;
mod punching;
mod reaching;
mod relayed;
mod reports;
mod restart;
mod resume;
mod routers;
mod scripts;
mod secrecy;
mod sources;
#[cfg(feature = "postgres")]
mod sql;
#[cfg(feature = "postgres")]
mod sql_tls;
mod starting;
mod staying;
mod storm;
mod streaming;
mod supervised;
mod taking_over;
mod terminal;
mod trackers;
mod transfers;
mod transmission;
mod truth;
mod versions;
mod versions_of_files;
