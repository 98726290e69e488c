//! Versions of a file, against a tracker that keeps one file of one group.

use super::*;
use crate::client::shares::Reading;
use crate::client::trackers::tests::{done, network_key, refuse};
use crate::store::{DownloadRow, OwnPart, Progress};
use crate::swarm::part_path;
use crate::types::{FileEntry, FileFacts, GroupEntry, InfoHash, InodeId, Sha1Digest, Stamp};
use crate::wire::tracker::Resolved;

/// What the scripted tracker lists.
type Listed = Arc<Mutex<Option<FileEntry>>>;

fn entry(facts: FileFacts, at: u64) -> FileEntry {
    let (label, at) = (facts.name.as_str().parse().unwrap(), Stamp::new(at, 0));
    FileEntry {
        group: group(1),
        label,
        facts,
        sharers: vec!["nik".parse().unwrap()],
        sharer_count: 1,
        online: 1,
        at,
    }
}

fn answer(reply: Reply) -> Act {
    Act::Answer(Box::new(reply))
}

/// A tracker that keeps one file; `may_replace` says whether the user may replace another one's.
fn keeper(listed: &Listed, may_replace: bool) -> Fake {
    let listed = listed.clone();
    Fake::start(move |request| {
        let mut listed = listed.lock();
        match request {
            Request::ListMyGroups { .. } => {
                let club = GroupEntry { group: group(2), label: "club".parse().unwrap(), ..lab() };
                answer(Reply::Groups { entries: vec![club, lab()], more: false })
            }
            Request::Resolve { file, .. } => {
                let named = listed.clone().filter(|entry| file.as_ref() == Some(&entry.label));
                answer(Reply::Resolved(Resolved { group: lab(), user: None, file: named }))
            }
            Request::ShareFile { file, .. } => {
                match listed.as_ref().filter(|entry| entry.facts != *file) {
                    Some(_) => refuse(Refusal::FileNameTaken),
                    None => {
                        listed.get_or_insert(entry(file.clone(), 1_000));
                        answer(done(Stamp::new(1_000, 0)))
                    }
                }
            }
            Request::ReplaceFile { .. } if !may_replace => refuse(Refusal::NotSharer),
            Request::ReplaceFile { file, replaces, .. } => {
                assert_eq!(listed.as_ref().map(|entry| entry.facts.id()), Some(*replaces));
                *listed = Some(entry(file.clone(), 2_000));
                answer(done(Stamp::new(2_000, 0)))
            }
            Request::FindFile { file, .. } => {
                match listed.clone().filter(|entry| entry.facts.id() == *file) {
                    Some(entry) => answer(Reply::File(entry)),
                    None => refuse(Refusal::NoSuchFile),
                }
            }
            other => usual(other),
        }
    })
}

fn upload(client: &Client, path: &Path) -> Result<Shared, ClientError> {
    client.upload_file(path, "lab", false, &mut |_, _| true)
}

/// The page checks where a path leads; a link that is put there afterwards leads elsewhere.
#[test]
fn a_link_at_a_path_that_was_checked_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (dir.path().join("checked"), dir.path().join("elsewhere"));
    std::fs::write(&elsewhere, "a key").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let listed = Listed::default();
    let fake = keeper(&listed, true);
    let client = client_of(&dir.path().join("data"), &[&fake]);
    log_in(&client);
    let share = |follows_link| {
        let how = Reading { trusts_stamp: false, follows_link };
        client.share_file(&path, "lab", how, &mut |_, _| true)
    };
    assert!(matches!(share(false), Err(ClientError::Path { .. })));
    assert!(listed.lock().is_none());
    share(true).unwrap();
    assert_eq!(listed.lock().as_ref().unwrap().label.as_str(), "checked");
}

fn stops(fake: &Fake) -> usize {
    fake.count(|request| matches!(request, Request::StopShare { .. }))
}

#[test]
fn the_second_night_replaces_the_version_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, path) = (dir.path().join("data"), dir.path().join("nightly.tar"));
    let listed = Listed::default();
    let fake = keeper(&listed, true);
    for night in 0..3 {
        std::fs::write(&path, format!("night {night}")).unwrap();
        let client = client_of(&data_dir, &[&fake]);
        log_in(&client);
        let shared = upload(&client, &path).unwrap();
        let before = [None, Some(1_000), Some(2_000)][night];
        assert_eq!(shared.replaces, before.map(|at| Stamp::new(at, 0)));
        assert_eq!(
            listed.lock().as_ref().map(|entry| entry.facts.clone()),
            Some(shared.facts.clone())
        );
        let uploads = client.show_uploads().unwrap();
        assert_eq!((uploads.len(), uploads[0].file.as_str()), (1, "nightly.tar"));
        assert!(
            upload(&client, &path).unwrap().replaces.is_none(),
            "that is the version which is there"
        );
    }
    assert_eq!(stops(&fake), 0, "the name was given up in between");
    let states = {
        let store = DeviceStore::open(&data_dir).unwrap();
        store.shares(user().user).unwrap().iter().map(|row| row.state).collect::<Vec<_>>()
    };
    assert_eq!(
        states.iter().filter(|state| **state != ShareState::Stopped).count(),
        1,
        "{states:?}"
    );
}

#[test]
fn somebody_elses_file_is_not_replaced_and_the_error_says_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "ours").unwrap();
    let listed = Listed::default();
    let fake = keeper(&listed, false);
    let client = client_of(&dir.path().join("data"), &[&fake]);
    log_in(&client);
    let shared = upload(&client, &path).unwrap();
    let others = FileFacts {
        sha1: Sha1Digest::from_bytes([9; 20]),
        info_hash: InfoHash::from_bytes([9; 20]),
        ..shared.facts
    };
    *listed.lock() = Some(entry(others.clone(), 5));
    let error = upload(&client, &path).unwrap_err();
    assert!(matches!(error, ClientError::FileNameTaken { .. }), "{error}");
    assert!(
        error.to_string().starts_with("another file of that name is in the group; rename yours"),
        "{error}"
    );
    assert!(error.to_string().contains("(eve)"), "{error}");
    assert_eq!(listed.lock().as_ref().map(|entry| entry.facts.clone()), Some(others));
}

#[test]
fn a_tracker_that_lists_something_else_than_was_sent_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    std::fs::write(&path, "0123").unwrap();
    let fake = Fake::start(|request| match request {
        Request::Resolve { .. } => {
            answer(Reply::Resolved(Resolved { group: lab(), user: None, file: None }))
        }
        Request::FindFile { .. } => {
            let sha1 = Sha1Digest::from_bytes([7; 20]);
            let (info_hash, name) = (InfoHash::from_bytes([7; 20]), "a.bin".parse().unwrap());
            answer(Reply::File(entry(
                FileFacts { info_hash, name, len: 4, piece_len: 512 << 10, sha1, chain: None },
                1,
            )))
        }
        other => usual(other),
    });
    let client = client_of(&dir.path().join("data"), &[&fake]);
    log_in(&client);
    let error = upload(&client, &path).unwrap_err();
    assert!(matches!(error, ClientError::ListedOtherwise(_)), "{error}");
    assert!(client.show_uploads().unwrap().is_empty());
}

fn begin(client: &Client, row: DownloadRow) -> Result<DownloadHandle, ClientError> {
    client.inner.begin_row(row, false, &mut |_, _| true)?.wait()
}

fn failed_row(dir: &Path, info_hash: u8) -> DownloadRow {
    let (info_hash, sha1) =
        (InfoHash::from_bytes([info_hash; 20]), Sha1Digest::from_bytes([info_hash; 20]));
    DownloadRow {
        user: user().user,
        group: group(1),
        group_label: "lab".parse().unwrap(),
        label: "big.bin".parse().unwrap(),
        facts: FileFacts {
            info_hash,
            name: "big.bin".parse().unwrap(),
            len: 100,
            piece_len: 512 << 10,
            sha1,
            chain: None,
        },
        target: dir.join("big.bin"),
        progress: Progress::Failed("replaced".into()),
        verified: None,
        part: None,
        begun_ms: 1,
    }
}

#[test]
fn what_is_left_of_another_version_does_not_stand_in_the_way_of_the_newer() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut old = failed_row(dir.path(), 1);
    let part = part_path(&old.target, old.facts.info_hash);
    std::fs::write(&part, "half of it").unwrap();
    old.part = Some(OwnPart::File(InodeId::new(&part.symlink_metadata().unwrap())));
    DeviceStore::open(&data_dir).unwrap().apply(&[Write::Download(Arc::new(old.clone()))]).unwrap();
    let fake = keeper(&Listed::default(), true);
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    let new = DownloadRow { progress: Progress::Running, ..failed_row(dir.path(), 2) };
    begin(&client, new.clone()).unwrap();
    let there: Vec<InfoHash> = client
        .inner
        .store
        .downloads(user().user)
        .unwrap()
        .iter()
        .map(|row| row.facts.info_hash)
        .collect();
    assert_eq!(there, [new.facts.info_hash]);
    assert!(std::fs::read(&part).map_or(true, |bytes| bytes != b"half of it"));
    // That of another file of another name stays.
    let name = "other.bin".parse().unwrap();
    let other = failed_row(dir.path(), 3);
    let other = DownloadRow {
        facts: FileFacts { name, ..other.facts },
        target: dir.path().join("x"),
        ..other
    };
    std::fs::write(part_path(&other.target, other.facts.info_hash), "somebody's").unwrap();
    assert!(begin(&client, DownloadRow { progress: Progress::Running, ..other }).is_err());
}

#[test]
fn a_download_whose_disk_is_not_mounted_is_paused_and_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, disk) = (dir.path().join("data"), dir.path().join("disk"));
    std::fs::create_dir(&disk).unwrap();
    let mut row = DownloadRow { progress: Progress::Running, ..failed_row(&disk, 5) };
    let part = part_path(&row.target, row.facts.info_hash);
    std::fs::write(&part, [1; 100]).unwrap();
    row.part = Some(OwnPart::File(InodeId::new(&part.symlink_metadata().unwrap())));
    DeviceStore::open(&data_dir).unwrap().apply(&[Write::Download(Arc::new(row.clone()))]).unwrap();
    let fake = keeper(&Listed::default(), true);
    let phase = |client: &Client| client.show_downloads().unwrap()[0].phase.clone();
    let away = dir.path().join("away");
    std::fs::rename(&part, &away).unwrap();
    {
        let client = client_of(&data_dir, &[&fake]);
        let events = client.subscribe();
        log_in(&client);
        let event =
            wait_for_event(&events, |event| matches!(event, ClientEvent::DownloadPaused { .. }));
        assert!(
            matches!(&event, ClientEvent::DownloadPaused { reason, .. } if reason.contains("is the disk mounted?")),
            "{event:?}"
        );
        assert!(matches!(phase(&client), DownloadPhase::Paused(Some(_))));
        let refused = client.download("lab", "big.bin").unwrap().resume();
        assert!(refused.unwrap_err().to_string().contains("is the disk mounted?"));
        assert!(matches!(phase(&client), DownloadPhase::Paused(Some(_))));
        assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0);
        std::fs::rename(&away, &part).unwrap();
        client.download("lab", "big.bin").unwrap().resume().unwrap();
        assert_eq!(phase(&client), DownloadPhase::Running);
    }
    assert_eq!(std::fs::read(&part).unwrap(), [1; 100]);
}

#[test]
fn offers_and_downloads_of_a_replaced_version_end_and_name_the_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1), group(2)]);
    let fake = keeper(&Listed::default(), true);
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    let shared = client.inner.store.shares(user().user).unwrap()[0].facts.clone();
    let download = DownloadRow { progress: Progress::Running, ..failed_row(dir.path(), 4) };
    let handle = begin(&client, download.clone()).unwrap();
    let removed = |facts: &FileFacts, newer: Option<&str>| Event::FileRemoved {
        group: group(1),
        file: facts.id(),
        info_hash: facts.info_hash,
        label: "big.bin".parse().unwrap(),
        replaced_by: newer.map(|name| name.parse().unwrap()),
    };
    // The same content under another name is another file: its end is none of this one's.
    let namesake =
        |facts: &FileFacts| FileFacts { name: "other.bin".parse().unwrap(), ..facts.clone() };
    fake.tell(&removed(&namesake(&shared), Some("not-this.bin")));
    fake.tell(&removed(&namesake(&download.facts), Some("not-this.bin")));
    for _ in 0..2 {
        fake.tell(&removed(&shared, None));
    }
    let told =
        wait_for_event(&events, |event| matches!(event, ClientEvent::ShareNotOffered { .. }));
    assert!(
        matches!(told, ClientEvent::ShareNotOffered { reason, .. } if reason.contains("removed from the group"))
    );
    assert_eq!(client.show_uploads().unwrap().len(), 1, "in the other group it is offered on");
    fake.tell(&removed(&download.facts, Some("big.bin~2")));
    let told =
        wait_for_event(&events, |event| !matches!(event, ClientEvent::TrustedNetwork { .. }));
    let words = "`download_file lab 'big.bin~2'`";
    assert!(
        matches!(&told, ClientEvent::DownloadFailed { reason, .. } if reason.contains(words)),
        "{told:?}"
    );
    assert!(matches!(handle.status().phase, DownloadPhase::Failed(_)));
}

#[test]
fn what_this_device_removes_is_not_told_as_news() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    std::fs::write(&path, "0123").unwrap();
    let fake = keeper(&Listed::default(), true);
    let client = client_of(&dir.path().join("data"), &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    let shared = upload(&client, &path).unwrap();
    client.remove_file("lab", "a.bin").unwrap();
    let (info_hash, label) = (shared.facts.info_hash, "a.bin".parse().unwrap());
    fake.tell(&Event::FileRemoved {
        group: group(1),
        file: shared.facts.id(),
        info_hash,
        label,
        replaced_by: None,
    });
    fake.tell(&Event::Removed { group: group(1) });
    let next =
        wait_for_event(&events, |event| !matches!(event, ClientEvent::TrustedNetwork { .. }));
    assert!(matches!(next, ClientEvent::Removed { .. }), "{next:?}");
    assert!(client.show_uploads().unwrap().is_empty());
}

#[test]
fn a_password_of_the_operators_is_said_so_and_what_waited_for_another_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let fake = Fake::start(usual);
    fake.terms.lock().must_change = true;
    let client = client_of(&data_dir, &[&fake]);
    log_in(&client);
    assert!(client.must_change_password());
    let announces = || {
        fake.count(
            |request| matches!(request, Request::Announce { entries } if !entries.is_empty()),
        )
    };
    wait_for("the share is announced, in vain", || announces() > 0);
    let before = announces();
    let [old, new] = ["pw", "new"].map(|text| Password::new(text.into()).unwrap());
    client.change_password(old, new).unwrap();
    assert!(!client.must_change_password());
    wait_for("it is announced again", || announces() > before);
}

#[test]
fn trackers_that_others_told_of_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let (listed, added) = (Fake::start(usual), Fake::start(usual));
    {
        let client = client_of(&data_dir, &[&listed]);
        log_in(&client);
        listed.tell(&Event::Trackers {
            addresses: vec![added.address.to_string().parse().unwrap()],
            removed: vec![],
        });
        wait_for("it is dialled", || added.count(is_resume) == 1);
    }
    let gone = Fake::start_of(network_key(), usual).kill();
    let trackers = TrackerInfo::parse(&gone.to_string()).unwrap();
    let config =
        ClientConfig { data_dir, ..ClientConfig::new("127.0.0.1:0".parse().unwrap(), trackers) };
    let client = Client::start(config).unwrap();
    assert!(
        client.wait_for_tracker(Duration::from_secs(30)),
        "the one of the list is gone for good"
    );
    log_in(&client);
    assert_eq!(added.count(|request| matches!(request, Request::Login { .. })), 1);
}

#[test]
fn an_account_that_is_deleted_ends_its_session_without_ado() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = with_share(dir.path(), [group(1)]);
    let fake = Fake::start(usual);
    let client = client_of(&data_dir, &[&fake]);
    let events = client.subscribe();
    log_in(&client);
    client.delete_account().unwrap();
    assert!(
        fake.count(|request| matches!(request, Request::DeleteAccount { .. })) == 1
            && client.whoami().is_err()
    );
    assert!(!events.try_iter().any(|event| matches!(event, ClientEvent::SessionEnded { .. })));
    log_in(&client);
}
