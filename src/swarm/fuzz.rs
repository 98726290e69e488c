//! A link that a client accepted, from its first byte to its last: for the fuzz targets.
//!
//! The engine is real, with its pool and its disk, and knows three files: one that it seeds, one
//! that it downloads, and one whose metainfo it has to ask for first. The link is served by a
//! thread of this run; the engine is made anew every few runs.

mod fetch;
mod peer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha1::{Digest, Sha1};

use self::peer::Peer;
use super::api::Way;
use super::engine::accept::accept;
use super::{DownloadSpec, Engine, EngineConfig, EngineEvent, Host, Proof, SeedSpec, TransferId};
use crate::fuzzing::Input;
use crate::fuzzing::harness::{Scratch, check_threads, pair};
use crate::net::Transport;
use crate::types::{
    DeviceId, FileFacts, FileStamp, Geometry, GroupId, InfoHash, PublicKey, Sha1Digest, Signature,
    Ticket, TicketClaims, UserId, VerifiedPieces, limits,
};
use crate::wire::metainfo::Metainfo;

pub use self::fetch::metainfo_fetch;

/// Runs that one engine serves.
const RUNS: u8 = 64;
/// Steps of one run.
const STEPS_MAX: usize = 200;
/// Pieces in each file, and bytes in the last one.
const PIECES: usize = 5;
const LAST_LEN: usize = 1000;

/// The group that everybody is in, and this engine's device.
const GROUP: GroupId = GroupId::from_bytes([0x22; 16]);
const OWN: DeviceId = DeviceId::from_bytes([0xee; 32]);

/// Lets everybody in whose ticket names the right device and group.
struct Anybody;

impl Host for Anybody {
    fn ticket_for(&self, _: InfoHash, _: DeviceId) -> Option<Ticket> {
        None
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        (group == GROUP).then(|| ticket(OWN, u64::MAX))
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let TicketClaims { group, user, issued_ms, expires_ms, .. } = ticket.claims;
        let key = PublicKey::from_bytes([0; 32]);
        let expires = Instant::now() + Duration::from_millis(expires_ms.min(600_000));
        (ticket.claims.device == device && expires_ms > 0).then_some(Proof {
            group,
            user,
            issued_ms,
            expires_ms,
            expires,
            key,
        })
    }

    fn is_offered(&self, _: InfoHash, group: GroupId, _: DeviceId) -> bool {
        group == GROUP
    }

    fn journal(&self, _: TransferId, _: InfoHash, _: &VerifiedPieces) {}

    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}

    fn event(&self, _: EngineEvent) {}
}

/// A ticket of the group, good for milliseconds; nobody here looks at signatures.
fn ticket(device: DeviceId, expires_ms: u64) -> Ticket {
    let claims = TicketClaims {
        group: GROUP,
        user: UserId::from_bytes([7; 16]),
        device,
        issued_ms: 1,
        expires_ms,
    };
    Ticket { claims, signature: Signature::from_bytes([0xab; 64]) }
}

struct Running {
    engine: Arc<Engine>,
    runs: u8,
    files: [File; 3],
    _directory: Scratch,
}

#[derive(Clone)]
struct File {
    data: Vec<u8>,
    metainfo: Arc<Metainfo>,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// One link that a client accepted.
pub fn link_session(bytes: &[u8]) {
    run(bytes);
}

/// Serves one link; returns how many blocks came of it, and how many requests.
fn run(bytes: &[u8]) -> (usize, usize) {
    check_threads();
    let mut place = RUNNING.lock();
    let running = place.get_or_insert_with(Running::start);
    running.runs += 1;
    let mut input = Input::new(bytes);
    let file = running.files[input.below(3)].clone();
    let (ours, theirs) = pair(false);
    let engine = running.engine.clone();
    let came = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = accept(&engine.torrents, theirs.clone(), Way::Direct, || true);
            theirs.close();
        });
        let peer = Peer::new(ours, file);
        peer.run(&mut input, running.runs)
    });
    if running.runs == RUNS {
        let stayed = running.engine.stop(Duration::from_secs(8));
        assert!(stayed.is_empty(), "threads stayed: {stayed:?}");
        *place = None;
    }
    check_threads();
    came
}

impl Running {
    fn start() -> Self {
        let directory = Scratch::new();
        let mut config = EngineConfig::new(Transport::Plain(OWN));
        (config.threads, config.bind_ip) = (2, None);
        let engine =
            Engine::start(config, Arc::new(Anybody)).expect("there is room for a few threads");
        let files = ["seeded", "fetched", "unknown"].map(File::new);
        for (at, file) in files.iter().enumerate() {
            let path = directory.path().join(file.metainfo.name().as_str());
            if at == 0 {
                std::fs::write(&path, &file.data).expect("the directory can be written");
                let stamp =
                    FileStamp::new(&std::fs::metadata(&path).expect("it has just been written"));
                engine
                    .seed(SeedSpec { metainfo: file.metainfo.clone(), chain: None, path, stamp })
                    .expect("nothing is in its way");
            } else {
                let metainfo = (at == 1).then(|| file.metainfo.clone());
                let spec = DownloadSpec {
                    id: TransferId(1),
                    facts: file.facts(),
                    target: path,
                    metainfo,
                    chain: None,
                    part: None,
                    verified: None,
                    paused: false,
                };
                engine.download(spec).expect("nothing is in its way");
            }
        }
        Self { engine, runs: 0, files, _directory: directory }
    }
}

impl File {
    /// Makes a small file that its name determines.
    fn new(name: &str) -> Self {
        let len = (PIECES - 1) * limits::BLOCK_LEN as usize + LAST_LEN;
        let first = name.as_bytes()[0];
        let data: Vec<u8> = (0..len).map(|at| (at / 251) as u8 ^ (at as u8) ^ first).collect();
        let geometry =
            Geometry::new(len as u64, limits::BLOCK_LEN).expect("a short file has few pieces");
        let hashes = data
            .chunks(limits::BLOCK_LEN as usize)
            .map(|piece| Sha1Digest::from_bytes(Sha1::digest(piece).into()));
        let metainfo =
            Metainfo::new(name.parse().expect("a plain name"), geometry, hashes.collect());
        Self { data, metainfo: Arc::new(metainfo.expect("one hash a piece")) }
    }

    fn facts(&self) -> FileFacts {
        let (geometry, name) = (self.metainfo.geometry(), self.metainfo.name().clone());
        let sha1 = Sha1Digest::from_bytes(Sha1::digest(&self.data).into());
        FileFacts {
            info_hash: self.metainfo.info_hash(),
            name,
            len: geometry.len(),
            piece_len: geometry.piece_len(),
            sha1,
            chain: None,
        }
    }

    fn block(&self, piece: u32, begin: u32, len: u32) -> Option<&[u8]> {
        let span = self.metainfo.geometry().span(piece, begin, len)?;
        let start = (self.metainfo.geometry().offset(span.piece) + u64::from(begin)) as usize;
        Some(&self.data[start..start + len as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::seeds::seeds;

    /// A run that is refused everything proves nothing.
    #[test]
    fn who_shows_a_good_ticket_is_served_and_asked() {
        let seeds = seeds("link_session");
        let seed = |name: &str| &seeds.iter().find(|(seed, _)| seed == name).unwrap().1;
        // A request may come too late for a run on a busy machine.
        let often = |name: &str| {
            (0..50).map(|_| run(seed(name))).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).unwrap()
        };
        assert!(often("served").0 > 0);
        assert!(often("fetched").1 > 0);
        assert_eq!(often("stranger"), (0, 0));
    }
}
