//! The store over a PostgreSQL that the tests start.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::*;
use crate::directory::{Asked, Output, Replica, Ticket};
use crate::store::shared::Present;
use crate::types::{
    Change, DeviceId, DownloadState, Effect, GroupId, InfoHash, Outcome, PasswordHash, Refusal,
    RequestId, RequestStamp, Stamp, Success,
};

#[path = "../../../tests/posse/harness/postgres.rs"]
#[allow(dead_code)]
pub(crate) mod cluster;

use cluster::Cluster;

mod conformance;

const NOW_MS: u64 = 1_700_000_000_000;

fn open(url: &str, number: u32) -> SqlStore {
    let address = EngineAddress::parse(url).unwrap();
    SqlStore::open(address, StoreId::from_bytes(rand::random()), number).unwrap()
}

/// A tracker's replica, driven as the core does.
struct Driven {
    replica: Replica<SqlStore>,
    requests: u128,
}

impl Driven {
    fn open(url: &str, number: u32) -> Self {
        let store = open(url, number);
        let state = store.state();
        let mut replica = Replica::over(Directory::new(store), state, &[]);
        replica.share_rows();
        Self { replica, requests: u128::from(number) << 64 }
    }

    fn ask(&mut self, actor: UserId, change: Change) -> Asked {
        self.requests += 1;
        let id = RequestId::from_bytes(self.requests.to_be_bytes());
        let request = RequestStamp { id, at: Stamp::new(NOW_MS + self.requests as u64 % 1000, 0) };
        Asked { actor, request, change, note: String::new() }
    }

    /// Carries changes out in one transaction, as often as need be.
    fn carry_out(&mut self, asked: &[Asked]) -> Vec<Outcome> {
        (0..100).find_map(|_| self.try_to_carry_out(asked)).expect("it is stored")
    }

    fn try_to_carry_out(&mut self, asked: &[Asked]) -> Option<Vec<Outcome>> {
        self.replica.store_mut().begin().unwrap();
        let mark = self.replica.mark();
        for (number, asked) in asked.iter().enumerate() {
            self.replica.submit(NOW_MS, Ticket(number as u64), asked.clone());
        }
        let (mut transactions, mut replies) = (Vec::new(), Vec::new());
        let mut drain = |replica: &mut Replica<SqlStore>, transactions: &mut Vec<_>| {
            while let Some(output) = replica.poll() {
                match output {
                    Output::Persist(transaction) => transactions.push(transaction),
                    Output::Reply(ticket, outcome) => replies.push((ticket, outcome)),
                    _ => {}
                }
            }
        };
        drain(&mut self.replica, &mut transactions);
        match self.replica.store_mut().commit(&transactions).unwrap() {
            Committed::Stored => {
                self.replica.persisted(NOW_MS);
                drain(&mut self.replica, &mut transactions);
                replies.sort_by_key(|(ticket, _)| *ticket);
                Some(replies.into_iter().map(|(_, outcome)| outcome).collect())
            }
            Committed::RolledBack(_) => {
                self.replica.abandon(mark);
                None
            }
        }
    }

    fn create_user(&mut self, name: &str) -> Outcome {
        let asked = self.ask_for_user(name);
        self.carry_out(&[asked]).remove(0)
    }

    fn ask_for_user(&mut self, name: &str) -> Asked {
        let hash = PasswordHash::from_phc("$argon2id$x".to_owned());
        self.ask(UserId::NOBODY, Change::CreateUser { name: name.parse().unwrap(), hash })
    }
}

#[test]
fn ten_that_start_at_once_make_the_tables_once() {
    let cluster = Cluster::start();
    std::thread::scope(|scope| {
        for number in 1..=10 {
            let url = cluster.url();
            scope.spawn(move || drop(open(&url, number)));
        }
    });
    assert_eq!(cluster.sql("SELECT count(*) FROM posse_trackers"), "10");
    // A later version is left alone, and says what it is.
    cluster.sql("UPDATE posse_meta SET value = '\\x00000009' WHERE key = 'schema'");
    let address = EngineAddress::parse(&cluster.url()).unwrap();
    let refused = SqlStore::open(address, StoreId::from_bytes([1; 16]), 1).unwrap_err();
    assert!(refused.to_string().contains("made by a later version"), "{refused}");
}

/// The totals as the rows say, and as the parts do.
fn check_totals(url: &str) {
    let store = open(url, 99);
    let counted = Directory::new(&store).counts();
    let mut memory = Directory::new(crate::directory::MemoryRows::default());
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.rows(&[], after.as_deref(), 500);
        let Some(last) = page.last() else { break };
        after = Some(stored_key(&last.content.key()));
        rows.extend(page);
    }
    rows.iter().for_each(|row| memory.rows_mut().put(1, row));
    memory.make_entries(Vec::new(), |_, _| Ok::<_, ()>(())).unwrap();
    assert_eq!(memory.counts(), counted);
    assert_eq!(memory.digest(), Directory::new(&store).digest());
}

#[test]
fn three_trackers_write_at_once_and_each_hears_of_everything_once() {
    const USERS: usize = 25;
    let cluster = Cluster::start();
    let url = cluster.url();
    let mut trackers: Vec<Driven> = (1..=3).map(|number| Driven::open(&url, number)).collect();
    // All of them want the same names.
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let create = |tracker: &mut Driven| {
            (0..USERS).map(|n| tracker.create_user(&format!("u{n}"))).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            trackers.iter_mut().map(|tracker| scope.spawn(move || create(tracker))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(made, USERS, "each name is given once");
    let refused = |outcome: &&Outcome| **outcome == Err(Refusal::NameTaken);
    assert_eq!(outcomes.iter().filter(refused).count(), 2 * USERS);
    let mut heard = 0;
    for tracker in &mut trackers {
        let store = tracker.replica.store_mut();
        let news = store.poll().unwrap();
        assert!(!news.is_lost);
        let places: HashSet<_> = news.transactions.iter().map(|told| told.rows[0].place).collect();
        assert_eq!(places.len(), news.transactions.len(), "none is told twice");
        heard += news.transactions.len();
        assert!(store.poll().unwrap().transactions.is_empty());
    }
    assert_eq!(heard, 2 * USERS, "each of them hears of what the two others have done");
    check_totals(&url);
    // One ends in order, one just goes: what they have counted stays.
    trackers[0].replica.store_mut().close().unwrap();
    drop(trackers);
    check_totals(&url);
    let mut late = open(&url, 4);
    let since = std::time::Instant::now();
    while cluster.sql("SELECT count(*) FROM posse_trackers WHERE number < 4") != "0" {
        assert!(since.elapsed().as_secs() < 30, "those that have gone are not removed");
        late.poll().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    check_totals(&url);
}

#[test]
fn a_tracker_that_was_taken_for_dead_begins_anew_and_says_that_it_has_missed_something() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let mut tracker = Driven::open(&url, 1);
    tracker.create_user("nik").unwrap();
    let store = tracker.replica.store_mut().store;
    let mut other = open(&url, 2);
    other.poll().unwrap();
    let beat = cluster.sql("SELECT beat FROM posse_trackers WHERE number = 1").parse().unwrap();
    assert!(other.write_alone(|connection| feed::remove(connection, store, beat)).unwrap());
    assert!(!other.write_alone(|connection| feed::remove(connection, store, beat)).unwrap());
    tracker.create_user("ann").unwrap();
    assert!(tracker.replica.store_mut().poll().unwrap().is_lost);
    assert!(!tracker.replica.store_mut().poll().unwrap().is_lost);
    // The others go on: they have missed nothing, and hear once what it has done since.
    let news = other.poll().unwrap();
    assert!(!news.is_lost && news.transactions.len() == 1, "{news:?}");
    assert!(other.poll().unwrap().transactions.is_empty());
    check_totals(&url);
}

#[test]
fn what_a_tracker_did_before_it_ended_is_told_at_the_others() {
    let cluster = Cluster::start();
    let mut tracker = Driven::open(&cluster.url(), 1);
    let mut other = open(&cluster.url(), 2);
    other.poll().unwrap();
    tracker.create_user("nik").unwrap();
    tracker.replica.store_mut().close().unwrap();
    let news = other.poll().unwrap();
    assert!(!news.is_lost && news.transactions.len() == 1, "{news:?}");
    assert!(other.alive().is_empty());
    // Nothing is in use any more once that one has ended, too.
    other.close().unwrap();
    assert_eq!(cluster.sql("SELECT count(*) FROM posse_trackers WHERE beat >= 0"), "0");
}

#[test]
fn a_tracker_that_has_not_listened_for_long_takes_nobody_for_gone() {
    let cluster = Cluster::start();
    let mut trackers = [1, 2].map(|number| Driven::open(&cluster.url(), number));
    for tracker in &mut trackers {
        tracker.replica.store_mut().poll().unwrap();
    }
    trackers[1].create_user("nik").unwrap();
    trackers[0].replica.store_mut().poll().unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    let [first, second] = &mut trackers;
    let news = first.replica.store_mut().poll().unwrap();
    assert!(news.transactions.is_empty() && !news.is_lost, "{news:?}");
    second.create_user("ann").unwrap();
    assert!(!second.replica.store_mut().poll().unwrap().is_lost, "it was not removed");
    assert_eq!(first.replica.store_mut().poll().unwrap().transactions.len(), 1);
}

#[test]
fn a_device_that_leaves_one_of_its_trackers_is_still_there() {
    let cluster = Cluster::start();
    let mut trackers = [1, 2, 3].map(|number| open(&cluster.url(), number));
    let swarm = (InfoHash::from_bytes([1; 20]), GroupId::from_bytes([2; 16]));
    let (user, device) = (UserId::from_bytes([3; 16]), DeviceId::from_bytes([4; 32]));
    let at = PresentAt::Swarm { swarm, user, device };
    let part = |state| {
        let (info_hash, group) = swarm;
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = PeerEntry { info_hash, group, device, user, address, state, candidates: None };
        let present = Present::Peer { peer, is_withdrawn: false };
        PresenceChanges::from([(at, present), (PresentAt::User(user, device), online())])
    };
    fn online() -> Present {
        Present::User { is_online: true }
    }
    trackers.iter_mut().for_each(|tracker| drop(tracker.poll().unwrap()));
    assert!(trackers[1].put_presence(&part(DownloadState::Seeding)).unwrap());
    assert!(trackers[2].put_presence(&part(DownloadState::Seeding)).unwrap());
    let heard = trackers[0].poll().unwrap().present;
    assert_eq!(heard.len(), 2);
    assert_eq!(trackers[0].peers_elsewhere(&[swarm], 9).len(), 2);
    let counts = trackers[0].count_present(&[swarm], &[user]);
    assert_eq!((counts.seeders[&swarm], counts.users[&user]), (1, 1), "one device, however often");
    assert!(trackers[1].put_presence(&part(DownloadState::Stopped)).unwrap());
    let heard = trackers[0].poll().unwrap().present;
    assert!(
        matches!(&heard[..], [Present::Peer { peer, .. }] if peer.state == DownloadState::Stopped)
    );
    assert_eq!(trackers[0].still_there(&[at]), [at].into());
    trackers[2].put_presence(&part(DownloadState::Stopped)).unwrap();
    trackers[0].poll().unwrap();
    assert!(trackers[0].still_there(&[at]).is_empty());
    assert!(trackers[0].peers_elsewhere(&[swarm], 9).is_empty());
    // With its tracker it goes.
    trackers[2].put_presence(&part(DownloadState::Seeding)).unwrap();
    trackers[2].close().unwrap();
    trackers[0].poll().unwrap();
    assert!(trackers[0].still_there(&[at]).is_empty());
    let since = Instant::now();
    while cluster.sql("SELECT count(*) FROM posse_presence WHERE state = 2") != "0" {
        assert!(since.elapsed().as_secs() < 30, "its rows are not removed");
        trackers[0].poll().unwrap();
        trackers[1].poll().unwrap();
    }
}

/// What the proxy does when it sees a COMMIT of the client's.
const PASS: u8 = 0;
/// It cuts the connection without passing the COMMIT on.
const CUT_BEFORE: u8 = 1;
/// It passes the COMMIT on, waits for the answer, and cuts the connection without passing that on.
const CUT_AFTER: u8 = 2;

/// Passes connections on to a cluster.
fn proxy(listener: UnixListener, server: std::path::PathBuf, mischief: &'static AtomicU8) {
    for client in listener.incoming() {
        let (Ok(client), Ok(server)) = (client, UnixStream::connect(&server)) else { return };
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(len @ 1..) = from_client.read(&mut bytes) {
                let is_commit = bytes[..len].windows(7).any(|seen| seen == b"COMMIT\0");
                let what = if is_commit { mischief.swap(PASS, Ordering::SeqCst) } else { PASS };
                if what == CUT_BEFORE {
                    break;
                }
                if what == CUT_AFTER {
                    // Nothing goes back to the client from now on.
                    let _ = from_client.shutdown(std::net::Shutdown::Write);
                }
                if to_server.write_all(&bytes[..len]).is_err() {
                    break;
                }
            }
            let _ = from_client.shutdown(std::net::Shutdown::Both);
            let _ = to_server.shutdown(std::net::Shutdown::Both);
        });
        let (mut from_server, mut to_client) = (server, client);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Both);
        });
    }
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    static MISCHIEF: AtomicU8 = AtomicU8::new(PASS);
    let cluster = Cluster::start();
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
    let server = cluster.path().join(".s.PGSQL.5432");
    std::thread::spawn(move || proxy(listener, server, &MISCHIEF));
    let url = format!("postgres:///postgres?user=posse&host={}", dir.path().display());
    let mut tracker = Driven::open(&url, 1);
    for round in 0..12 {
        let mischief = [CUT_BEFORE, CUT_AFTER, PASS][round % 3];
        let hash = PasswordHash::from_phc("$argon2id$x".to_owned());
        let name = format!("u{round}").parse().unwrap();
        let asked = tracker.ask(UserId::NOBODY, Change::CreateUser { name, hash });
        // The snapshot that is still open would be the one whose COMMIT is cut.
        tracker.replica.store_mut().check().unwrap();
        MISCHIEF.store(mischief, Ordering::SeqCst);
        let outcome = tracker.carry_out(std::slice::from_ref(&asked)).remove(0).unwrap();
        assert_eq!(MISCHIEF.load(Ordering::SeqCst), PASS, "it was done");
        assert!(matches!(outcome, Success { effect: Effect::User(_), .. }));
        // The client has heard nothing, and asks again, also elsewhere.
        assert_eq!(tracker.carry_out(std::slice::from_ref(&asked)).remove(0), Ok(outcome));
        let mut other = Driven::open(&cluster.url(), 2);
        assert_eq!(other.carry_out(&[asked]).remove(0), Ok(outcome));
    }
    let told = cluster.sql("SELECT count(*), count(DISTINCT sequence) FROM posse_feed");
    assert_eq!(told, "12|12");
    assert_eq!(Directory::new(tracker.replica.store_mut() as &SqlStore).counts().users, 12);
    check_totals(&cluster.url());
}

#[test]
fn a_database_that_refuses_to_write_or_goes_away_loses_nothing() {
    let mut cluster = Cluster::make(&[]);
    cluster.start_server();
    let mut tracker = Driven::open(&cluster.url(), 1);
    tracker.create_user("nik").unwrap();
    cluster.sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
    // For sessions that begin after that: another database is to take this one's place.
    tracker.create_user("ann").unwrap();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    cluster.sql(ended);
    let bob = tracker.ask_for_user("bob");
    assert_eq!(tracker.try_to_carry_out(std::slice::from_ref(&bob)), None);
    cluster.sql("BEGIN READ WRITE; ALTER DATABASE postgres RESET ALL; COMMIT");
    tracker.carry_out(&[bob]).remove(0).unwrap();
    cluster.stop_server("KILL");
    cluster.start_server();
    tracker.create_user("eve").unwrap();
    let names = tracker.replica.directory().users(None, 10).0;
    tracker.replica.store_mut().check().unwrap();
    let names: Vec<&str> = names.iter().map(|user| user.label.as_str()).collect();
    assert_eq!(names, ["ann", "bob", "eve", "nik"]);
}
