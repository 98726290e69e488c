//! The pure halves under simulated time: never above the limit, fair, and nothing left unused.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::request_queue::{NextRequest, RequestQueue};
use super::send_queue::{SendQueue, SenderId};
use super::*;
use crate::types::{DeviceId, InfoHash};

const MS: Duration = Duration::from_millis(1);
const BLOCK: u64 = 512 << 10;

fn rate(bytes: u64) -> Rate {
    Rate::new(bytes).unwrap()
}

fn device(number: u32) -> DeviceId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

fn file(number: u8) -> InfoHash {
    InfoHash::from_bytes([number; 20])
}

/// What went when: the most in any window, beyond `rate` times its length.
fn excess(sent: &[(Duration, u64)], rate: u64) -> f64 {
    // The largest sum of a run, as each step loses what the rate allows: Kadane's.
    let (mut worst, mut run, mut last) = (0f64, 0f64, Duration::ZERO);
    for (at, bytes) in sent {
        run = (run - (*at - last).as_secs_f64() * rate as f64).max(0.0) + *bytes as f64;
        worst = worst.max(run);
        last = *at;
    }
    worst
}

/// Seconds for which downloads share a limit.
const TIME: u64 = 60;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_bucket_never_gives_more_than_its_rate(
        bytes_per_second in 10_000u64..200_000_000,
        steps in prop::collection::vec((0u64..200_000, 1u64..600_000), 1..300),
    ) {
        let mut bucket = Bucket::new(Some(rate(bytes_per_second)));
        let (mut now, mut sent, mut largest) = (Duration::ZERO, Vec::new(), 0);
        for (wait_us, portion) in steps {
            now = bucket.ready_at(now + Duration::from_micros(wait_us));
            bucket.take(now, portion);
            sent.push((now, portion));
            largest = largest.max(portion);
        }
        let allowed = bytes_per_second as f64 * BURST + largest as f64 + 2.0;
        prop_assert!(excess(&sent, bytes_per_second) <= allowed + 1e-3 * sent.len() as f64);
    }

    /// Whoever always takes what it may gets the rate, whatever the portions are.
    #[test]
    fn a_bucket_gives_its_whole_rate(bytes_per_second in 10_000u64..200_000_000, portion in 1_000u64..600_000) {
        let mut bucket = Bucket::new(Some(rate(bytes_per_second)));
        let (mut now, mut sum) = (Duration::ZERO, 0);
        let end = Duration::from_secs(1000);
        while sum < 2000 * portion {
            now = bucket.ready_at(now);
            if now > end {
                break;
            }
            bucket.take(now, portion);
            sum += portion;
        }
        let due = now.as_secs_f64() * bytes_per_second as f64;
        prop_assert!((sum as f64) >= due - 2.0 && (sum as f64) <= due + 2.0 * portion as f64 + 2.0, "{sum} of {due}");
    }

    #[test]
    fn downloads_share_a_limit_evenly_as_far_as_they_need_it(
        limit in 100_000u64..3_000_000,
        // What each download's links can bring, as a part of the limit in hundredths.
        needs in prop::collection::vec(1u64..200, 1..6),
    ) {
        let capacity: Vec<u64> = needs.iter().map(|part| (limit * part / 100).max(1)).collect();
        let got = fetch(limit, &capacity, Duration::from_secs(TIME));
        let want = max_min(limit, &capacity);
        let sum: u64 = got.iter().sum();
        prop_assert!(sum <= limit * TIME + limit / 5 + 64 * 16_384, "{sum}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let mean = got / TIME;
            prop_assert!(mean * 100 + 16_384 >= want * 94 && mean * 94 <= want * 100 + 65_536, "download {i}: {mean} of {want}, {capacity:?}");
        }
    }
}

/// Fetches with downloads whose links bring so much a second; returns the bytes that each was
/// allowed to ask for.
fn fetch(limit: u64, capacity: &[u64], time: Duration) -> Vec<u64> {
    const BLOCK: u64 = 16 << 10;
    let mut held = RequestQueue::new(Some(rate(limit)));
    let mut got = vec![0u64; capacity.len()];
    let mut pushed = vec![0u64; capacity.len()];
    let mut now = Duration::ZERO;
    while now < time {
        for (i, capacity) in capacity.iter().enumerate() {
            // It asks as soon as its links have brought what it asked for before.
            let brought = (now.as_secs_f64() * *capacity as f64) as u64;
            while pushed[i] <= brought && held.has_room(file(i as u8), |()| true) {
                held.push(file(i as u8), BLOCK, ());
                pushed[i] += BLOCK;
            }
            // A link that had nothing to bring has lost that time.
            pushed[i] = pushed[i].max(brought.saturating_sub(4 * BLOCK));
        }
        match held.next(now, |()| true) {
            NextRequest::Send(flow, ()) => got[usize::from(flow.as_bytes()[0])] += BLOCK,
            NextRequest::At(at) => now = at.min(now + 5 * MS),
            NextRequest::Nothing => now += MS,
        }
    }
    got
}

/// The max-min fair division of a limit.
fn max_min(limit: u64, needs: &[u64]) -> Vec<u64> {
    let mut given = vec![0; needs.len()];
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|i| needs[*i]);
    let mut left = limit;
    for (place, i) in order.iter().enumerate() {
        given[*i] = needs[*i].min(left / (needs.len() - place) as u64);
        left -= given[*i];
    }
    given
}

#[test]
fn a_download_keeps_to_its_own_limit_and_leaves_the_rest_to_others() {
    let mut held = RequestQueue::new(Some(rate(1_000_000)));
    held.set_limit(Duration::ZERO, file(0), Some(rate(100_000)));
    let (mut now, mut got) = (Duration::ZERO, [0u64; 3]);
    while now < Duration::from_secs(60) {
        for i in 0..3 {
            while held.has_room(file(i), |()| true) {
                held.push(file(i), 16 << 10, ());
            }
        }
        match held.next(now, |()| true) {
            NextRequest::Send(flow, ()) => got[usize::from(flow.as_bytes()[0])] += 16 << 10,
            NextRequest::At(at) => now = at,
            NextRequest::Nothing => panic!("there is always something"),
        }
    }
    let per_second = got.map(|bytes| bytes / 60);
    assert!((97_000..=103_000).contains(&per_second[0]), "{per_second:?}");
    assert!(
        per_second[1..].iter().all(|rate| (440_000..=460_000).contains(rate)),
        "{per_second:?}"
    );
    // Without any limit what is held goes at once, and nothing is kept of it.
    held.set_rate(now, None);
    held.set_limit(now, file(0), None);
    while held.next(now, |()| true) != NextRequest::Nothing {}
    assert!(!held.is_any_limited());
}

#[test]
fn what_was_taken_back_costs_nothing_and_is_in_nobodys_way() {
    let mut held = RequestQueue::new(Some(rate(10_000)));
    (0..8).for_each(|item| held.push(file(1), 512 << 10, item));
    assert!(!held.has_room(file(1), |_| true) && held.of(file(1)).count() == 8);
    assert_eq!(held.next(Duration::ZERO, |item| *item == 5), NextRequest::Send(file(1), 5));
    assert!(held.has_room(file(1), |_| false));
    assert_eq!(held.next(Duration::ZERO, |_| false), NextRequest::Nothing);
    held.push(file(1), 1, 9);
    let NextRequest::At(at) = held.next(Duration::ZERO, |_| true) else {
        panic!("the one that went is to be paid for")
    };
    assert!(at > 50 * 1000 * MS && at < 53 * 1000 * MS, "{at:?}");
}

/// Links that always have a block of so many bytes to send, at a limit, for a time; what goes when
/// to whom, and how long each block took.
struct Serving {
    turns: SendQueue,
    now: Duration,
    sent: Vec<(Duration, u64)>,
    per_device: BTreeMap<u32, u64>,
    longest: Duration,
    /// Longest that a device heard nothing at all.
    silence: Duration,
}

impl Serving {
    fn new(limit: u64) -> Self {
        let turns = SendQueue::new(Some(rate(limit)));
        let (sent, per_device) = (Vec::new(), BTreeMap::new());
        Self {
            turns,
            now: Duration::ZERO,
            sent,
            per_device,
            longest: Duration::ZERO,
            silence: Duration::ZERO,
        }
    }

    /// `len` tells how long the next block of a device is, from how many it had.
    fn run(mut self, devices: u32, len: impl Fn(u32, u64) -> u64, time: Duration) -> Self {
        let mut tickets: BTreeMap<SenderId, (u32, u64, Option<Duration>)> = BTreeMap::new();
        let mut had = vec![0u64; devices as usize];
        let mut heard = vec![Duration::ZERO; devices as usize];
        for number in 0..devices {
            tickets.insert(
                self.turns.join(device(number), len(number, 0)),
                (number, len(number, 0), None),
            );
        }
        while self.now < time {
            let Some((ticket, at)) = self.turns.next(self.now) else {
                panic!("somebody always waits")
            };
            self.now = at;
            let (number, left, begun) = tickets[&ticket];
            if begun.is_none() {
                self.turns.begin(self.now, ticket);
                self.turns.again(ticket, left);
                tickets.insert(ticket, (number, left, Some(self.now)));
                continue;
            }
            let bytes = self.turns.take(self.now, ticket);
            assert!(bytes > 0 && bytes <= left);
            self.sent.push((self.now, bytes));
            *self.per_device.entry(number).or_default() += bytes;
            self.silence = self
                .silence
                .max(self.now - std::mem::replace(&mut heard[number as usize], self.now));
            if bytes < left {
                self.turns.again(ticket, left - bytes);
                tickets.insert(ticket, (number, left - bytes, begun));
                continue;
            }
            self.longest = self.longest.max(self.now - begun.unwrap());
            self.turns.leave(ticket);
            tickets.remove(&ticket);
            had[number as usize] += 1;
            let next = len(number, had[number as usize]);
            tickets.insert(self.turns.join(device(number), next), (number, next, None));
        }
        self
    }

    fn rate(&self) -> f64 {
        self.sent.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64 / self.now.as_secs_f64()
    }
}

#[test]
fn what_is_sent_stays_at_the_limit_and_everybody_gets_the_same() {
    for limit in [10_000, 64 << 10, 1_000_000, 100_000_000] {
        for (devices, block) in [(1, BLOCK), (8, 16 << 10), (8, BLOCK), (200, BLOCK)] {
            if devices == 200 && limit < 1_000_000 {
                continue;
            }
            // Long enough for everybody to have had some turns.
            let time =
                Duration::from_secs_f64((8 * u64::from(devices) * BLOCK) as f64 / limit as f64)
                    .max(Duration::from_secs(5));
            let served = Serving::new(limit).run(devices, |_, _| block, time);
            let what = format!("{limit} bytes a second, {devices} devices, blocks of {block}");
            assert!(
                (0.99..1.01).contains(&(served.rate() / limit as f64)),
                "{what}: {}",
                served.rate()
            );
            let portion = (limit / 20).clamp(1 << 10, 256 << 10);
            assert!(
                excess(&served.sent, limit) <= (limit / 10 + portion) as f64 + 2.0,
                "{what}: a burst"
            );
            let mean = served.per_device.values().sum::<u64>() / u64::from(devices);
            let least = *served.per_device.values().min().unwrap();
            assert!(
                served.per_device.len() == devices as usize && least * 2 >= mean,
                "{what}: {least} of {mean}"
            );
            assert!(
                served.longest < Duration::from_secs(60),
                "{what}: a block took {:?}",
                served.longest
            );
        }
    }
}

/// At the least limit, a link that was fast has a large block under way: no message takes the
/// minute after which a link ends, and once blocks are small again nobody is left without a word
/// for the ten seconds after which others are asked.
#[test]
fn at_the_least_limit_no_message_takes_too_long() {
    let large_first = |_, had| if had == 0 { BLOCK } else { 16 << 10 };
    let served = Serving::new(10_000).run(4, large_first, Duration::from_secs(900));
    assert!(served.longest < Duration::from_secs(60), "{:?}", served.longest);
    let served = Serving::new(10_000).run(8, |_, _| 16 << 10, Duration::from_secs(600));
    assert!(served.longest < Duration::from_secs(30), "{:?}", served.longest);
    assert!(served.silence < Duration::from_secs(10), "{:?}", served.silence);
}

#[test]
fn who_takes_nothing_is_not_waited_for() {
    let mut turns = SendQueue::new(Some(rate(10_000)));
    let stuck = turns.join(device(1), BLOCK);
    turns.begin(Duration::ZERO, stuck);
    turns.again(stuck, BLOCK);
    assert!(turns.take(Duration::ZERO, stuck) > 0);
    let other = turns.join(device(2), BLOCK);
    assert_eq!(turns.next(500 * MS), None, "two of that size would take too long");
    assert_eq!(turns.next(1500 * MS).map(|(next, _)| next), Some(other));
}

/// Eight leechers have half of a large block each when the limit is lowered to the least: all of it
/// comes before they give it up, and from then on the limit holds.
#[test]
fn what_was_begun_before_the_limit_was_lowered_is_not_lost() {
    let mut turns = SendQueue::new(Some(rate(10_000_000)));
    let mut left: BTreeMap<SenderId, u64> =
        (0..8).map(|number| (turns.join(device(number), BLOCK), BLOCK)).collect();
    for (ticket, left) in &mut left {
        turns.begin(Duration::ZERO, *ticket);
        turns.again(*ticket, *left);
        *left -= turns.take(Duration::ZERO, *ticket);
        turns.again(*ticket, *left);
    }
    turns.set_rate(Duration::ZERO, Some(rate(10_000)));
    let (waiting, mut now, mut tail) =
        (turns.join(device(9), 16 << 10), Duration::ZERO, Vec::new());
    while !left.is_empty() {
        let (ticket, at) = turns.next(now).unwrap();
        now = at;
        let Some(rest) = left.get_mut(&ticket) else { panic!("another one goes before") };
        *rest -= turns.take(now, ticket);
        turns.again(ticket, *rest);
        if *rest == 0 {
            left.remove(&ticket);
            turns.leave(ticket);
        }
    }
    assert!(now < Duration::from_secs(9), "it took {now:?}");
    let end = now + Duration::from_secs(20);
    turns.again(waiting, 1 << 20);
    while let Some((ticket, at)) = turns.next(now).filter(|(_, at)| *at < end) {
        now = at;
        tail.push((now, turns.take(now, ticket)));
        turns.again(ticket, 1 << 20);
    }
    assert!(excess(&tail, 10_000) <= 2_050.0, "{}", excess(&tail, 10_000));
    assert!(tail.iter().map(|(_, bytes)| bytes).sum::<u64>() > 190_000);
}

#[test]
fn a_changed_rate_counts_at_once() {
    let mut bucket = Bucket::new(Some(rate(10_000)));
    bucket.take(Duration::ZERO, 500_000);
    assert_eq!(bucket.ready_at(Duration::ZERO), Duration::from_secs(50));
    bucket.set_rate(Duration::ZERO, Some(rate(100_000_000)));
    assert_eq!(bucket.ready_at(Duration::ZERO), 5 * MS, "as many bytes");
    bucket.set_rate(Duration::ZERO, Some(rate(10_000)));
    assert_eq!(bucket.ready_at(Duration::ZERO), 5 * MS, "as much time");
    let second = Duration::from_secs(1);
    bucket.set_rate(second, Some(rate(100_000_000)));
    bucket.take(second, 11_000_000);
    assert_eq!(
        bucket.ready_at(second),
        second + 10 * MS,
        "no more is saved up than a tenth of a second's worth"
    );
    bucket.set_rate(Duration::ZERO, None);
    assert_eq!(bucket.ready_at(Duration::ZERO), Duration::ZERO);
}
