//! Announces this device on the local networks, and tells the session who announces themselves
//! there.
//!
//! **Invariant:** the device is announced only while a user is logged in, on networks at whose
//! addresses it takes links, and never with `--no-lan`. Whatever comes from the network costs at
//! most [`DATAGRAMS_MAX`] datagrams a second, and one message a second to the core.
//!
//! The thread "lan" wakes every [`LOOK_EVERY`], and for each datagram to multicast DNS. It blocks
//! on its sockets, and on the core's queue.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};

use super::Runtime;
use super::lan_state::LanStatus;
use crate::client::lan::{
    Announcement, DATAGRAM_MAX, GROUP, Message, Neighbours, RotatingId, announce, epoch, query,
    read,
};
use crate::client::session::input::Input;
use crate::client::trackers::uptime;
use crate::net::{Interface, Multicast, Threads, interfaces};

/// How often the thread looks whether something has changed that it is not woken for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After what pauses an announcement is repeated, and a question: the first may be lost, as when an
/// interface has just come up (RFC 6762, sections 5.2 and 8.3).
const ANNOUNCED_AFTER: [u64; 2] = [0, 1_000];
const ASKED_AFTER: [u64; 3] = [0, 1_000, 3_000];
/// How long after the last question of anybody it asks while there is no tracker, in milliseconds:
/// who came meanwhile has announced itself, but that may be lost. All hear the answers (RFC 6762,
/// section 7.3).
const ASKED_AGAIN_MS: std::ops::Range<u64> = 10_000..13_000;
/// A question that comes from this machine so soon after its own is its own.
const OWN_QUESTION: Duration = Duration::from_millis(100);
/// How much later than its epoch an id is used, in milliseconds, so that not all devices of a
/// network announce themselves at once.
const ID_LATE_MS: std::ops::Range<u64> = 0..30_000;
/// An answer waits for this long, in milliseconds, so that not all answer at once; and a second
/// passes between two (RFC 6762, section 6).
const ANSWER_AFTER_MS: std::ops::Range<u64> = 20..120;
const ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// Datagrams read in a second: a thousand members may answer one question, beside a flood. The
/// system drops the rest.
const DATAGRAMS_MAX: u32 = 10_000;
/// How often the core is told of changes.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before sockets that could not be opened are tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(30);

/// Starts the thread, if this device is ever to be announced.
pub(super) fn start(runtime: &Arc<Runtime>, threads: &Threads) -> io::Result<()> {
    let never = if !runtime.config.lan {
        Some("--no-lan")
    } else if runtime.address.ip().to_canonical().is_loopback() {
        Some("the client listens on an address that only this machine reaches")
    } else {
        None
    };
    if let Some(why) = never {
        runtime.lan.set(LanStatus::Off(why.into()));
        return Ok(());
    }
    let (waker, woken) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    runtime.lan.set_waker(waker);
    let runtime = runtime.clone();
    threads.spawn("lan", move || Lan::new(&runtime, woken).run())
}

/// Sent datagrams that are due.
#[derive(Debug, Default)]
struct Due {
    announce: Vec<Duration>,
    ask: Vec<Duration>,
}

impl Due {
    fn announce(&mut self, now: Duration) {
        self.announce = ANNOUNCED_AFTER.map(|ms| now + Duration::from_millis(ms)).into();
    }

    fn ask(&mut self, now: Duration) {
        self.ask = ASKED_AFTER.map(|ms| now + Duration::from_millis(ms)).into();
    }

    /// Somebody has asked: that will do for a while.
    fn ask_again(&mut self, now: Duration) {
        self.ask = vec![now + Duration::from_millis(rand::random_range(ASKED_AGAIN_MS))];
    }

    /// Takes those whose time has come; tells whether there were any.
    fn take(times: &mut Vec<Duration>, now: Duration) -> bool {
        let before = times.len();
        times.retain(|at| *at > now);
        times.len() < before
    }

    fn next(&self) -> Option<Duration> {
        self.announce.iter().chain(&self.ask).min().copied()
    }
}

/// What is announced, and where.
struct On {
    sockets: Multicast,
    id: RotatingId,
}

struct Lan<'a> {
    runtime: &'a Runtime,
    woken: UnixStream,
    on: Option<On>,
    neighbours: Neighbours,
    due: Due,
    announced_at: Option<Duration>,
    asked_at: Option<Duration>,
    id_late_ms: u64,
    open_at: Duration,
    told_at: Option<Duration>,
    had_tracker: bool,
    /// Datagrams read since the beginning of a second.
    read: (Duration, u32),
}

impl<'a> Lan<'a> {
    fn new(runtime: &'a Runtime, woken: UnixStream) -> Self {
        Self {
            runtime,
            woken,
            on: None,
            neighbours: Neighbours::default(),
            due: Due::default(),
            announced_at: None,
            asked_at: None,
            id_late_ms: rand::random_range(ID_LATE_MS),
            open_at: Duration::ZERO,
            told_at: None,
            had_tracker: false,
            read: (Duration::ZERO, 0),
        }
    }

    fn run(mut self) {
        let mut look_at = Duration::ZERO;
        loop {
            let mut wakes = [0; 64];
            let is_woken = self.woken.read(&mut wakes).is_ok_and(|len| len > 0);
            if self.runtime.stop.is_set() {
                return self.leave();
            }
            let now = uptime();
            if is_woken || now >= look_at {
                look_at = now + LOOK_EVERY;
                self.look(now);
            }
            self.receive(now);
            self.send_due(now);
            self.tell(now);
            let next = self.due.next().map_or(look_at, |next| next.min(look_at));
            let wait = next.saturating_sub(uptime()).max(Duration::from_millis(1));
            Multicast::wait(self.on.as_ref().map(|on| &on.sockets), &self.woken, wait);
        }
    }

    /// Looks at what decides whether this device is announced, where, and under which id.
    fn look(&mut self, now: Duration) {
        let runtime = self.runtime;
        let networks = runtime.network.accepted();
        let network = networks.first().copied();
        let view = runtime.view();
        let (Some(_), Some(network)) = (view.library.user(), network) else {
            runtime.lan.set(LanStatus::Off("nobody is logged in".into()));
            return self.leave();
        };
        let clock_ms = runtime.trackers.clock_ms();
        self.neighbours.turn(&networks, epoch(clock_ms));
        self.neighbours.expire(now);
        if !self.neighbours.is_empty() {
            self.neighbours.know(view.book.devices());
        }
        let here = usable_interfaces(runtime.address);
        if self.on.as_ref().is_some_and(|on| on.sockets.interfaces() != here) {
            self.leave();
            self.open_at = now;
        }
        let own_epoch = epoch(clock_ms.saturating_sub(self.id_late_ms));
        let id = RotatingId::new(network, runtime.security.device(), own_epoch);
        if self.on.is_none() && now >= self.open_at {
            self.open(here, id, now);
        }
        let has_tracker = runtime.trackers.is_reachable();
        let has_lost = std::mem::replace(&mut self.had_tracker, has_tracker) && !has_tracker;
        let Some(on) = &mut self.on else { return };
        if on.id != id {
            on.say(runtime, true);
            on.id = id;
            self.due.announce(now);
        }
        if has_lost {
            self.due.ask(now);
            self.due.announce(now);
        } else if !has_tracker && self.due.ask.is_empty() {
            self.due.ask_again(now);
        }
        runtime.lan.set(LanStatus::On(id.to_string()));
    }

    fn open(&mut self, here: Vec<Interface>, id: RotatingId, now: Duration) {
        if here.is_empty() {
            let why = "this machine is on no network";
            return self.runtime.lan.set(LanStatus::Off(why.into()));
        }
        match Multicast::join(GROUP, here) {
            Ok(sockets) => {
                self.on = Some(On { sockets, id });
                self.due.announce(now);
                self.due.ask(now);
            }
            Err(error) => {
                let why = format!("UDP port {} cannot be used: {error}", GROUP.port);
                if self.open_at == Duration::ZERO {
                    warn!("members on this network are not found: {why}");
                }
                self.open_at = now + OPEN_AGAIN;
                self.runtime.lan.set(LanStatus::Off(why));
            }
        }
    }

    /// Takes the announcement back, and forgets what was heard.
    fn leave(&mut self) {
        if let Some(on) = self.on.take() {
            on.say(self.runtime, true);
            self.neighbours = Neighbours::default();
            self.due = Due::default();
        }
    }

    fn receive(&mut self, now: Duration) {
        let Some(on) = &self.on else { return };
        let mut datagram = [0; DATAGRAM_MAX];
        let (since, count) = &mut self.read;
        if now.saturating_sub(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        // Other work has its turn after a hundred.
        for _ in 0..100 {
            if *count >= DATAGRAMS_MAX {
                let left = (*since + Duration::from_secs(1)).saturating_sub(uptime());
                self.runtime.stop.wait(left);
                return;
            }
            let (len, sender) = match on.sockets.read(&mut datagram) {
                Ok(Some(read)) => read,
                Ok(None) => {
                    *count += 1;
                    continue;
                }
                Err(_) => return,
            };
            *count += 1;
            match read(&datagram[..len]) {
                Some(Message::Query) => {
                    let is_recent = |asked: Duration| now.saturating_sub(asked) < OWN_QUESTION;
                    if on.may_be_own(sender) && self.asked_at.is_some_and(is_recent) {
                        continue;
                    }
                    if !self.due.ask.is_empty() && !self.had_tracker {
                        self.due.ask_again(now);
                    }
                    let wait = rand::random_range(ANSWER_AFTER_MS);
                    let at = now + Duration::from_millis(wait);
                    let free = self.announced_at.map_or(at, |said| at.max(said + ANSWER_PAUSE));
                    if self.due.announce.iter().all(|other| *other > free) {
                        self.due.announce.push(free);
                    }
                }
                Some(Message::Announcements(all)) => {
                    for one in all.iter().filter(|one| one.id != on.id) {
                        let is_here = |ip| on.sockets.has_neighbour(ip);
                        self.neighbours.hear(one, sender, now, is_here);
                    }
                }
                None => {}
            }
        }
    }

    fn send_due(&mut self, now: Duration) {
        let Some(on) = &self.on else { return };
        if Due::take(&mut self.due.announce, now) {
            self.announced_at = Some(now);
            on.say(self.runtime, false);
        }
        if Due::take(&mut self.due.ask, now) {
            self.asked_at = Some(now);
            on.send_each(|_| query().ok());
        }
    }

    /// Tells the session who is there, if that is news to it.
    fn tell(&mut self, now: Duration) {
        let is_due = self.told_at.is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
        if !is_due {
            return;
        }
        let view = self.runtime.view();
        let found = self.neighbours.found();
        if view.library.user().is_none() || **view.book.found() == found {
            return;
        }
        let is_new = |device| !view.book.found().contains_key(device);
        for (device, addresses) in found.iter().filter(|(device, _)| is_new(device)) {
            info!("{device} is on this network, at {addresses:?}");
        }
        self.told_at = Some(now);
        self.runtime.tell(Input::Found(found));
    }
}

impl On {
    /// Announces this device on each interface, or takes that back.
    fn say(&self, runtime: &Runtime, is_end: bool) {
        self.send_each(|interface| {
            let addresses: Vec<IpAddr> =
                interface.addresses.iter().map(|address| address.ip).collect();
            let what = Announcement::new(self.id, runtime.address.port(), addresses);
            announce(&if is_end { what.taken_back() } else { what }).ok()
        });
    }

    /// Tells whether a datagram may be this machine's. Over IPv6 it comes from an address that is not
    /// listed.
    fn may_be_own(&self, sender: IpAddr) -> bool {
        if matches!(sender, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            return true;
        }
        let mut own = self.sockets.interfaces().iter().flat_map(|one| &one.addresses);
        own.any(|address| address.ip == sender)
    }

    fn send_each(&self, datagram: impl Fn(&Interface) -> Option<Vec<u8>>) {
        for interface in self.sockets.interfaces() {
            if let Some(datagram) = datagram(interface) {
                self.sockets.send(interface, &datagram);
            }
        }
    }
}

/// The interfaces at whose addresses a client that listens there takes links, with these addresses.
fn usable_interfaces(listen: SocketAddr) -> Vec<Interface> {
    let all = interfaces().unwrap_or_else(|error| {
        debug!("the interfaces cannot be read: {error}");
        Vec::new()
    });
    at_addresses(all, listen)
}

fn at_addresses(all: Vec<Interface>, listen: SocketAddr) -> Vec<Interface> {
    let ip = listen.ip().to_canonical();
    let taken = all.into_iter().map(|mut interface| {
        interface.addresses.retain(|address| ip.is_unspecified() || address.ip == ip);
        interface
    });
    taken.filter(|interface| !interface.addresses.is_empty()).collect()
}
