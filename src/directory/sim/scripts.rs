//! Readable scenarios: `src/directory/scripts/*.txt`, in the manner of toyDB's golden scripts.
//!
//! A script is a list of blocks: commands, a line `---`, what is expected, a blank line. `#` begins
//! a comment. After each command the network does whatever it can without time passing: trackers
//! dial, messages arrive, disks sync. Trackers are `a`, `b`, ...
//!
//! | command | does |
//! |---|---|
//! | `trackers N` | starts N trackers |
//! | `a: nik share lab notes 1` | `nik` (or `-`) asks tracker `a`; commands as at the prompt, a file with a content number, and `false` for one with a false SHA-1; `id=N` sets the request id, and a known one repeats that request |
//! | `part a b`, `join a b` | ends all traffic between two trackers, and lets it flow again |
//! | `stall a b` | what `a` sends does not reach `b`, though the connection stands; `join` ends it |
//! | `crash a`, `start a` | as named |
//! | `back a N`, `wipe a` | takes the last N entries from a stopped tracker's store, or all |
//! | `freeze a`, `thaw a` | nothing is done at `a`, requests wait; then they come before all messages |
//! | `late a` | as `thaw`, and the requests come after the messages |
//! | `clock a MS`, `clock clients MS` | sets how far the clock is ahead |
//! | `sweep a MS` | deletes tombstones older than that from `a`'s store |
//! | `sleep MS` | lets time pass |
//! | `show a users`, `groups`, `members G`, `requests G`, `files G`, `trackers` | lists what `a` has |
//! | `whole` | checks that all trackers hold the same and that the naive model agrees |
//!
//! `POSSE_UPDATE_SCRIPTS=1` writes down what happens instead of comparing; read the difference
//! before keeping it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::check_whole;
use super::clients::{file, request_id};
use super::rows::{Backend, SimRows};
use super::world::{Request, Topology, World};
use crate::directory::Directory;
use crate::types::{
    Change, FileFacts, FileId, FileOrder, GroupId, Order, PasswordHash, RequestStamp, Sha1Digest,
    Stamp, UserId,
};

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/directory/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "scripts are missing");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let result = Script::default().run(&text);
        if std::env::var_os("POSSE_UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, result).unwrap();
        } else {
            assert_eq!(text, result, "{} went another way", path.display());
        }
    }
}

#[derive(Default)]
struct Script {
    world: Option<World>,
    /// What the client asked, by ticket.
    asked: BTreeMap<u64, String>,
    last_request: u64,
    requests: BTreeMap<u64, Request>,
    /// The time of the last request, and how far the clients' clocks are ahead.
    last: Stamp,
    skew_ms: i64,
}

impl Script {
    /// Runs all blocks, and returns the script with what happened as the expectation.
    fn run(&mut self, text: &str) -> String {
        let mut result = String::new();
        let mut output = String::new();
        let mut expecting = false;
        for line in text.lines().chain([""]) {
            match line {
                "---" => {
                    let happened = if output.is_empty() { "nothing" } else { output.trim_end() };
                    writeln!(result, "---\n{happened}").unwrap();
                    output.clear();
                    expecting = true;
                }
                "" if expecting => {
                    result.push('\n');
                    expecting = false;
                }
                _ if expecting => {}
                _ => {
                    result += line;
                    result.push('\n');
                    self.command(line.split('#').next().unwrap().trim(), &mut output);
                }
            }
        }
        assert!(output.is_empty(), "the last block has no expectation");
        result.trim_end().to_owned() + "\n"
    }

    fn command(&mut self, line: &str, output: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => return,
            ["trackers", count] => {
                self.world =
                    Some(World::new(count.parse().unwrap(), Topology::Mesh, Backend::Memory, 1))
            }
            [at, who, ref request @ ..] if at.ends_with(':') => {
                self.ask(node(at), who, request, output)
            }
            _ => self.act(&words, output),
        }
        self.report(output);
        // What no tracker has acknowledged is asked again with a later time.
        let overtaken = std::mem::take(&mut self.world.as_mut().unwrap().overtaken);
        for (id, at, above) in overtaken {
            let world = self.world.as_mut().unwrap();
            let is_done = world.acknowledged.iter().any(|a| a.request == id);
            let Some(request) =
                self.requests.values_mut().find(|request| request.stamp.id == id && !is_done)
            else {
                continue;
            };
            self.last =
                super::clients::time((world.now_ms + self.skew_ms) as u64, self.last, &[above]);
            request.stamp.at = self.last.max(above.next().unwrap());
            let ticket = world.submit(at, request);
            self.asked.insert(ticket.0, "asked again".to_owned());
            self.report(output);
        }
    }

    /// Lets the network do what it can, and writes down what is told.
    fn report(&mut self, output: &mut String) {
        let world = self.world.as_mut().unwrap();
        world.settle();
        for (at, notice) in world.notices.drain(..) {
            writeln!(output, "{}: ({notice})", name(at)).unwrap();
        }
        for (at, ticket, outcome) in world.replies.drain(..) {
            let outcome =
                outcome.map_or_else(|refusal| format!("refused: {refusal}"), |_| "ok".to_owned());
            writeln!(output, "{}: {}: {outcome}", name(at), self.asked[&ticket.0]).unwrap();
        }
    }

    fn act(&mut self, words: &[&str], output: &mut String) {
        let world = self.world.as_mut().unwrap();
        match *words {
            ["part", one, other] => {
                let pair = [node(one), node(other)];
                let between =
                    |ends: &[usize; 2]| ends.contains(&pair[0]) && ends.contains(&pair[1]);
                let cut: Vec<usize> = (0..world.connections.len())
                    .filter(|&c| between(&world.connections[c].ends))
                    .collect();
                cut.into_iter().for_each(|connection| world.cut(connection, &mut |len| len));
                // The news of the cut comes through at once; then nothing does.
                while let Some(&(connection, pipe)) = world.deliverable().first() {
                    world.deliver(connection, pipe);
                }
                world.stalled.extend([(pair[0], pair[1]), (pair[1], pair[0])]);
            }
            ["stall", from, to] => _ = world.stalled.insert((node(from), node(to))),
            ["join", one, other] => {
                world.stalled.remove(&(node(one), node(other)));
                world.stalled.remove(&(node(other), node(one)));
            }
            ["crash", at] => world.crash(node(at), 0, None, &mut |len| len),
            ["start", at] => world.restart(node(at)),
            ["back", at, count] => {
                let keep = world.nodes[node(at)].disk.log.len() - count.parse::<usize>().unwrap();
                world.crash(node(at), 0, Some(keep), &mut |len| len);
            }
            ["wipe", at] => world.wipe(node(at)),
            ["freeze", at] => world.nodes[node(at)].is_frozen = true,
            ["thaw", at] => {
                world.nodes[node(at)].is_frozen = false;
                while !world.nodes[node(at)].inbox.is_empty() {
                    world.carry_out(node(at));
                }
            }
            ["late", at] => {
                world.nodes[node(at)].is_frozen = false;
                world.settle();
                while !world.nodes[node(at)].inbox.is_empty() {
                    world.carry_out(node(at));
                }
            }
            ["sweep", at, ms] => _ = world.sweep(node(at), ms.parse().unwrap()),
            ["clock", "clients", ms] => self.skew_ms = ms.parse().unwrap(),
            ["clock", at, ms] => world.nodes[node(at)].skew_ms = ms.parse().unwrap(),
            ["sleep", ms] => (0..ms.parse::<i64>().unwrap() / 100).for_each(|_| world.advance(100)),
            ["show", at, ref what @ ..] => show(world, node(at), what, output),
            ["whole"] => {
                check_whole(world);
                writeln!(output, "whole").unwrap();
            }
            _ => panic!("unknown command: {words:?}"),
        }
    }

    fn ask(&mut self, at: usize, who: &str, words: &[&str], output: &mut String) {
        let world = self.world.as_mut().unwrap();
        let (words, id) = match words.split_last() {
            Some((last, rest)) if last.starts_with("id=") => (rest, last[3..].parse().unwrap()),
            _ => (words, 1000 + self.last_request),
        };
        self.last_request += 1;
        let directory = world.nodes[at].replica.as_ref().unwrap().directory();
        let actor = if who == "-" { Some(UserId::NOBODY) } else { directory.find_user(who) };
        let mut request = self.requests.get(&id).cloned();
        if let (None, Some(actor), Some(change)) = (&request, actor, change(directory, words)) {
            let told = world.told.remove(&0).unwrap_or_default();
            self.last =
                super::clients::time((world.now_ms + self.skew_ms) as u64, self.last, &told);
            let stamp = RequestStamp { id: request_id(id), at: self.last };
            request = Some(Request {
                client: 0,
                stamp,
                actor,
                change,
                asked_ms: world.now_ms,
                number: id,
            });
        }
        let Some(request) = request else {
            writeln!(output, "{}: {}: not found", name(at), words.join(" ")).unwrap();
            return;
        };
        // A known id with other words is used for another request.
        let mut asked = request.clone();
        if let (Some(actor), Some(change)) =
            (actor, change(world.nodes[at].replica.as_ref().unwrap().directory(), words))
        {
            (asked.actor, asked.change) = (actor, change);
        }
        let ticket = world.submit(at, &asked);
        self.requests.entry(id).or_insert(request);
        self.asked.insert(ticket.0, format!("{who} {}", words.join(" ")));
    }
}

/// Files of the group by content number, listed or not.
fn file_id(directory: &Directory<SimRows>, group: GroupId, content: &str) -> FileId {
    let files = directory.files(group, None, FileOrder::Name, None, usize::MAX).0;
    let number: u8 = content.parse().unwrap();
    let found = files.iter().find(|entry| entry.facts.info_hash.as_bytes()[0] == number);
    found.map_or_else(|| file(number, "none").id(), |entry| entry.facts.id())
}

fn facts(path: &str, content: &str) -> FileFacts {
    file(content.parse().unwrap(), path)
}

fn change(directory: &Directory<SimRows>, words: &[&str]) -> Option<Change> {
    let group = |name: &str| directory.find_group(name);
    let user = |name: &str| directory.find_user(name);
    let hash = || PasswordHash::from_phc("$".into());
    Some(match *words {
        ["create_user", name] => Change::CreateUser { name: name.parse().unwrap(), hash: hash() },
        ["change_password"] => Change::ChangePassword { hash: hash() },
        ["create_group", name] => Change::CreateGroup { name: name.parse().unwrap() },
        ["join_group", name] => Change::JoinGroup { group: group(name)? },
        ["leave_group", name] => Change::LeaveGroup { group: group(name)? },
        ["accept_request", name, who] => {
            Change::AcceptRequest { group: group(name)?, user: user(who)? }
        }
        ["reject_request", name, who] => {
            Change::RejectRequest { group: group(name)?, user: user(who)? }
        }
        ["remove_member", name, who] => {
            Change::RemoveMember { group: group(name)?, user: user(who)? }
        }
        ["transfer_group", name, who] => {
            Change::TransferGroup { group: group(name)?, user: user(who)? }
        }
        ["share", name, path, content] => {
            Change::ShareFile { group: group(name)?, file: facts(path, content) }
        }
        ["share", name, path, content, "false"] => {
            let file =
                FileFacts { sha1: Sha1Digest::from_bytes([0xbb; 20]), ..facts(path, content) };
            Change::ShareFile { group: group(name)?, file }
        }
        ["replace", name, path, content, replaced] => {
            let replaces = file_id(directory, group(name)?, replaced);
            Change::ReplaceFile { group: group(name)?, file: facts(path, content), replaces }
        }
        ["stop_share", name, content] => Change::StopShare {
            group: group(name)?,
            file: file_id(directory, group(name)?, content),
        },
        ["remove_file", name, content] => Change::RemoveFile {
            group: group(name)?,
            file: file_id(directory, group(name)?, content),
        },
        ["rename_group", name, other] => {
            Change::RenameGroup { group: group(name)?, name: other.parse().unwrap() }
        }
        ["delete_group", name] => Change::DeleteGroup { group: group(name)? },
        ["delete_account"] => Change::DeleteAccount,
        ["disable", who] => {
            Change::Operator(Order::DisableUser { user: user(who)?, is_disabled: true })
        }
        _ => panic!("unknown request: {words:?}"),
    })
}

fn show(world: &World, at: usize, what: &[&str], output: &mut String) {
    let replica = world.nodes[at].replica.as_ref().unwrap();
    let directory = replica.directory();
    let group = || directory.find_group(what[1]).unwrap();
    let max = usize::MAX;
    let lines: Vec<String> = match what[0] {
        "users" => {
            directory.users(None, max).0.iter().map(|entry| entry.label.to_string()).collect()
        }
        "groups" => {
            let groups = directory.groups(UserId::NOBODY, None, None, max).0;
            groups
                .iter()
                .map(|g| format!("{}, {} members, owner {}", g.label, g.member_count, g.owner))
                .collect()
        }
        "members" => {
            let members = directory.members(group(), None, max).0;
            members
                .iter()
                .map(|m| format!("{}{}", m.user.label, if m.owner { ", owner" } else { "" }))
                .collect()
        }
        "requests" => directory
            .requests(group(), None, max)
            .0
            .iter()
            .map(|r| r.user.label.to_string())
            .collect(),
        "files" => {
            let files = directory.files(group(), None, FileOrder::Name, None, max).0;
            let sharers = |sharers: &[crate::types::Label]| {
                sharers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            files
                .iter()
                .map(|f| {
                    format!(
                        "{}, content {}, from {}",
                        f.label,
                        f.facts.info_hash.as_bytes()[0],
                        sharers(&f.sharers)
                    )
                })
                .collect()
        }
        "trackers" => {
            let links = replica.links();
            links
                .iter()
                .map(|link| {
                    format!("{}: {:?}, lag {}", name(link.tracker as usize), link.state, link.lag)
                })
                .collect()
        }
        _ => panic!("unknown list: {what:?}"),
    };
    for line in if lines.is_empty() { vec!["none".to_owned()] } else { lines } {
        writeln!(output, "{}: {line}", name(at)).unwrap();
    }
}

fn node(name: &str) -> usize {
    usize::from(name.as_bytes()[0] - b'a')
}

fn name(node: usize) -> char {
    char::from(b'a' + node as u8)
}
