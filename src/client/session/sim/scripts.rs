//! Earlier faults, each as a script.

use std::time::Duration;

use super::world::{World, download_row, facts, group, seed, share_row};
use crate::client::error::ClientError;
use crate::client::session::DISK_TIMEOUT;
use crate::client::session::input::*;
use crate::client::session::library::Work;
use crate::client::session::news::News;
use crate::store::{OwnPart, Progress, ShareRow, ShareState};
use crate::types::{DeviceId, DownloadState, FileStamp, InfoHash, InodeId, PeerEntry, UserId};

/// A world with a session and a store that fails on demand. Nothing else fails.
fn logged_in() -> World {
    let mut world = World::new(1);
    world.store_fails = 0;
    world.log_in_well();
    world
}

impl World {
    fn log_in_well(&mut self) {
        let reserve = self.command(Command::Reserve);
        assert!(matches!(self.answer(reserve), Some(Ok(_))));
        self.enter(None);
    }

    /// Delivers all inputs and lets the store answer, until there are no more.
    fn settle(&mut self) {
        while self.transaction.is_some() || !self.coming.is_empty() {
            self.store_answers();
            for input in std::mem::take(&mut self.coming) {
                self.input(input);
            }
        }
    }

    fn done(&mut self, reply: ReplyTo) {
        self.settle();
        let answer = self.answer(reply);
        assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
    }

    fn refused(&mut self, reply: ReplyTo) -> ClientError {
        self.settle();
        self.answer(reply).expect("an answer").expect_err("a refusal")
    }

    fn begin_well(&mut self, file: u8) -> TransferId {
        let row = download_row(file);
        let claim = self.command(Command::Claim(Box::new(row.clone())));
        self.done(claim);
        let begin = Begin { row, before: None, stale: Vec::new() };
        let begin = self.command(Command::Begin(Box::new(begin)));
        self.done(begin);
        match self.work(file) {
            Work::Live(id) => id,
            other => panic!("it does not run, but is {other:?}"),
        }
    }

    fn work(&self, file: u8) -> Work {
        self.session.view().library.download(info_hash(file)).unwrap().work
    }

    fn told_progress(&self, file: u8) -> Option<Progress> {
        let view = self.session.view();
        view.library.download(info_hash(file)).map(|download| download.row.progress.clone())
    }

    fn stored_progress(&self, file: u8) -> Option<Progress> {
        self.rows.downloads.get(&info_hash(file)).map(|row| row.progress.clone())
    }
}

fn info_hash(file: u8) -> InfoHash {
    facts(file).info_hash
}

fn is_store_error(error: &ClientError) -> bool {
    matches!(error, ClientError::Store(_))
}

#[test]
fn a_pause_that_cannot_be_stored_has_changed_nothing() {
    let mut world = logged_in();
    world.begin_well(0);
    world.store_fails = 100;
    let pause = world.command(Command::Pause(info_hash(0)));
    // While the store has not answered, nothing has changed.
    assert_eq!(world.told_progress(0), Some(Progress::Running));
    let error = world.refused(pause);
    assert!(is_store_error(&error), "{error}");
    assert_eq!(world.told_progress(0), Some(Progress::Running));
    // It continues to run, and its end is reported.
    let Work::Live(id) = world.work(0) else { panic!("it does not run") };
    world.store_fails = 0;
    let news = EngineNews::Completed(seed(0));
    world.input(Input::Engine(id, info_hash(0), news));
    world.settle();
    let view = world.session.view();
    assert!(view.library.download(info_hash(0)).unwrap().has_ended());
}

#[test]
fn a_failure_that_cannot_be_stored_is_told_and_stored_as_soon_as_it_can_be() {
    let mut world = logged_in();
    let id = world.begin_well(0);
    world.store_fails = 100;
    let news = EngineNews::Failed("the disk is gone".into());
    world.input(Input::Engine(id, info_hash(0), news));
    world.settle();
    let failed = Some(Progress::Failed("the disk is gone".into()));
    assert_eq!((world.told_progress(0), world.told), (failed.clone(), 1));
    assert_eq!(world.stored_progress(0), Some(Progress::Running));
    for _ in 0..3 {
        world.pass(Duration::from_secs(1));
        assert!(world.transaction.is_some(), "it is tried again every second");
        world.settle();
    }
    world.store_fails = 0;
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!((world.stored_progress(0), world.told), (failed, 1), "and told once");
}

#[test]
fn a_file_system_that_hangs_holds_up_neither_login_nor_logout() {
    let mut world = World::new(1);
    world.store_fails = 0;
    let on = |file: u8, dev| {
        let stamp = FileStamp { dev, ..share_row(file).stamp };
        ShareRow { stamp, state: ShareState::Offered, ..share_row(file) }
    };
    for (file, dev) in [(0, 1), (1, 2)] {
        let row = on(file, dev);
        world.rows.shares.insert((row.group, row.facts.info_hash), row);
    }
    let reserve = world.command(Command::Reserve);
    world.done(reserve);
    let enter = world.enter(None);
    let hangs = |input: &Input| match input {
        Input::Done(Done::Shares(looked)) => looked[0].0.stamp.dev == 1,
        _ => false,
    };
    let (hanging, others): (Vec<Input>, Vec<Input>) =
        std::mem::take(&mut world.coming).into_iter().partition(hangs);
    others.into_iter().for_each(|input| world.input(input));
    world.pass(DISK_TIMEOUT - Duration::from_millis(1));
    assert!(world.answer(enter).is_none());
    world.pass(Duration::from_millis(1));
    assert!(matches!(world.answer(enter), Some(Ok(_))));
    assert_eq!(world.told, 1, "which disk does not answer");
    let is_offered = |world: &World, file: u8| {
        let view = world.session.view();
        view.library.share(group(file % 2), info_hash(file)).unwrap().offered
    };
    assert_eq!((is_offered(&world, 0), is_offered(&world, 1)), (false, true));
    hanging.into_iter().for_each(|input| world.input(input));
    assert!(is_offered(&world, 0), "when it answers");
    let leave = world.command(Command::Leave(None));
    world.done(leave);
}

#[test]
fn a_cancel_while_the_file_is_finished_leaves_a_complete_download() {
    let mut world = logged_in();
    let id = world.begin_well(0);
    let cancel = world.command(Command::Cancel(info_hash(0)));
    // The engine answers that it is finishing the file.
    world.coming.clear();
    world.input(Input::Halted(id, info_hash(0), false));
    assert!(world.answer(cancel).is_none());
    world.input(Input::Engine(id, info_hash(0), EngineNews::Completed(seed(0))));
    let error = world.refused(cancel);
    assert!(error.to_string().contains("complete"), "{error}");
    assert_eq!(world.stored_progress(0), Some(Progress::Complete));
    assert_eq!(world.told_progress(0), Some(Progress::Complete));
}

#[test]
fn a_cancel_while_the_file_is_finished_is_carried_out_if_that_fails() {
    let mut world = logged_in();
    let id = world.begin_well(0);
    let cancel = world.command(Command::Cancel(info_hash(0)));
    world.coming.clear();
    world.input(Input::Halted(id, info_hash(0), false));
    world.input(Input::Engine(id, info_hash(0), EngineNews::Failed("disk".into())));
    world.done(cancel);
    assert_eq!((world.told_progress(0), world.stored_progress(0)), (None, None));
}

#[test]
fn a_cancel_that_cannot_be_stored_goes_on_as_before() {
    let mut world = logged_in();
    world.begin_well(0);
    world.store_fails = 100;
    let cancel = world.command(Command::Cancel(info_hash(0)));
    let error = world.refused(cancel);
    assert!(is_store_error(&error), "{error}");
    assert_eq!(world.told_progress(0), Some(Progress::Running));
    assert!(matches!(world.work(0), Work::Live(_)));
    world.store_fails = 0;
    let cancel = world.command(Command::Cancel(info_hash(0)));
    world.done(cancel);
    assert_eq!((world.told_progress(0), world.stored_progress(0)), (None, None));
}

#[test]
fn a_download_that_was_killed_while_it_was_cancelled_is_removed_at_the_next_login() {
    let mut world = World::new(1);
    world.store_fails = 0;
    let mut row = download_row(0);
    row.progress = Progress::Cancelled;
    row.part = Some(OwnPart::File(InodeId { dev: 1, inode: 1, born_ns: None }));
    world.rows.downloads.insert(info_hash(0), row);
    world.log_in_well();
    assert!(world.session.view().library.find("g0", "f0").is_none(), "it is not shown");
    world.settle();
    assert_eq!(world.stored_progress(0), None);
}

#[test]
fn complete_downloads_are_not_loaded_and_those_of_a_session_are_bounded() {
    let mut world = logged_in();
    for number in 0..1_500_u32 {
        let mut row = download_row(0);
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        row.facts.info_hash = InfoHash::from_bytes(bytes);
        row.target = format!("/disk/{number}").into();
        let claim = world.command(Command::Claim(Box::new(row.clone())));
        world.done(claim);
        let adopt = Command::Adopt(Box::new(row), Box::new(seed(0)), Vec::new());
        let adopt = world.command(adopt);
        world.done(adopt);
    }
    world.settle();
    let view = world.session.view();
    assert!(view.library.downloads().count() <= 1_001, "{}", view.library.downloads().count());
    assert_eq!(world.rows.downloads.len(), 1_500, "the store has them all");
}

#[test]
fn a_command_that_writes_nothing_does_not_fail_with_others() {
    let mut world = logged_in();
    world.begin_well(0);
    world.begin_well(1);
    let first = world.command(Command::Pause(info_hash(0)));
    // These two are planned together while the store writes the first command.
    world.store_fails = 0;
    let pause = world.command(Command::Pause(info_hash(1)));
    let claim = world.command(Command::Claim(Box::new(download_row(2))));
    world.store_answers();
    assert!(matches!(world.answer(first), Some(Ok(_))));
    world.store_fails = 100;
    world.store_answers();
    assert!(matches!(world.answer(pause), Some(Err(error)) if is_store_error(&error)));
    assert!(matches!(world.answer(claim), Some(Ok(_))));
}

#[test]
fn a_removal_ends_links_and_downloads_while_the_store_hangs() {
    let mut world = logged_in();
    world.begin_well(0);
    let pause = world.command(Command::Prioritize(info_hash(0)));
    assert!(world.transaction.is_some(), "the store takes its time");
    world.session.input(Input::News(News::Removed(group(0))), world.now);
    let first = world.session.poll();
    assert!(
        matches!(first, Some(Effect::Engine(Order::EndLinks(Ends::Group(of)))) if of == group(0))
    );
    // The library does not show it yet, and nobody is to open the file anew.
    let view = world.session.take_view().expect("it has changed");
    assert!(view.library.download(info_hash(0)).is_some_and(|d| !d.has_ended()));
    assert!(view.revoked.contains(&group(0)) && !view.revoked.contains(&group(1)));
    world.done(pause);
    assert!(matches!(world.stored_progress(0), Some(Progress::Failed(_))));
    assert!(world.session.view().revoked.is_empty());
}

#[test]
fn a_download_that_the_engine_refuses_changes_nothing() {
    let mut world = logged_in();
    let row = download_row(0);
    let claim = world.command(Command::Claim(Box::new(row.clone())));
    world.done(claim);
    let begin = Command::Begin(Box::new(Begin { row, before: None, stale: Vec::new() }));
    let begin = world.command(begin);
    world.store_answers();
    let begun = |input: &Input| match input {
        Input::Done(Done::Begun(id, ..)) => Some(*id),
        _ => None,
    };
    let id = world.coming.iter().find_map(begun).expect("a job");
    world.coming.clear();
    world.input(Input::Done(Done::Begun(id, info_hash(0), Err("no room".into()))));
    let error = world.refused(begin);
    assert!(error.to_string().contains("no room"), "{error}");
    assert_eq!((world.told_progress(0), world.stored_progress(0)), (None, None));
}

#[test]
fn a_download_that_the_store_failed_to_write_can_be_begun_again() {
    let mut world = logged_in();
    world.is_faulty = false;
    let row = download_row(0);
    let claim = world.command(Command::Claim(Box::new(row.clone())));
    world.done(claim);
    world.store_fails = 100;
    let begin = Begin { row, before: None, stale: Vec::new() };
    let begin = world.command(Command::Begin(Box::new(begin)));
    assert!(matches!(world.refused(begin), ClientError::Store(_)));
    world.store_fails = 0;
    world.begin_well(0);
}

#[test]
fn a_download_whose_disk_hangs_gives_its_slot_up() {
    let mut world = logged_in();
    world.is_faulty = false;
    let max = world.command(Command::DownloadsMax(1));
    world.done(max);
    let row = download_row(0);
    let claim = world.command(Command::Claim(Box::new(row.clone())));
    world.done(claim);
    let begin = Begin { row, before: None, stale: Vec::new() };
    let begin = world.command(Command::Begin(Box::new(begin)));
    world.store_answers();
    let hanging = std::mem::take(&mut world.coming);
    let row = download_row(1);
    let claim = world.command(Command::Claim(Box::new(row.clone())));
    world.done(claim);
    let other = Begin { row, before: None, stale: Vec::new() };
    let other = world.command(Command::Begin(Box::new(other)));
    world.done(other);
    assert_eq!(world.work(1), Work::None, "it waits");
    world.pass(DISK_TIMEOUT);
    world.done(begin);
    assert!(matches!(world.work(1), Work::Live(_)));
    hanging.into_iter().for_each(|input| world.input(input));
    world.settle();
    assert!(matches!(world.work(0), Work::Live(_)), "when it answers");
    world.heal();
}

#[test]
fn a_member_that_is_found_here_is_dialled_here_though_no_tracker_is_left() {
    let mut world = logged_in();
    world.begin_well(0);
    let device = DeviceId::from_bytes([7; 32]);
    let peer = |file: u8| PeerEntry {
        info_hash: info_hash(file),
        group: group(0),
        device,
        user: UserId::from_bytes([9; 16]),
        address: "198.51.100.1:9".parse().unwrap(),
        state: DownloadState::Seeding,
        candidates: None,
    };
    // Nobody here fetches the second.
    let peers = vec![peer(0), peer(1)];
    world.session.input(Input::News(News::Peers { tracker: 0, peers }), world.now);
    world.session.input(Input::News(News::Lost { tracker: 0 }), world.now);
    while world.session.poll().is_some() {}
    let found = |port: u16| {
        let stranger = DeviceId::from_bytes([8; 32]);
        let at = |last| vec![([10, 0, 0, last], port).into()];
        Input::Found([(device, at(1)), (stranger, at(2))].into())
    };
    let mut dialled = |input| {
        world.session.input(input, world.now);
        let mut dialled = Vec::new();
        while let Some(effect) = world.session.poll() {
            let Effect::Engine(Order::AddPeers(of, peers)) = effect else { panic!("{effect:?}") };
            assert_eq!((of, peers.len(), peers[0].0), (info_hash(0), 1, device));
            dialled.push(peers[0].1.iter().map(|one| one.address.to_string()).collect::<Vec<_>>());
        }
        dialled
    };
    assert_eq!(dialled(found(5)), [["198.51.100.1:9", "10.0.0.1:5"]]);
    assert!(dialled(found(5)).is_empty(), "that is no news");
    assert_eq!(dialled(found(6)), [["198.51.100.1:9", "10.0.0.1:6"]]);
    assert_eq!(dialled(Input::Found(Default::default())), [["198.51.100.1:9"]]);
}
