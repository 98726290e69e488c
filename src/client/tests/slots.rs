//! Downloads that are begun, paused, resumed, moved and cancelled at the same time.

use super::*;
use crate::client::downloads::Beginning;
use crate::client::session::library::Download;
use crate::store::{DownloadRow, Progress};
use crate::swarm::TransferState;
use crate::types::{InfoHash, Sha1Digest};

const FILES: u8 = 5;

fn row(dir: &Path, number: u8) -> DownloadRow {
    let (info_hash, sha1) =
        (InfoHash::from_bytes([number; 20]), Sha1Digest::from_bytes([number; 20]));
    let name = format!("f{number}");
    DownloadRow {
        user: user().user,
        group: group(1),
        group_label: "lab".parse().unwrap(),
        label: name.parse().unwrap(),
        facts: FileFacts {
            info_hash,
            name: name.parse().unwrap(),
            len: 100,
            piece_len: 512 << 10,
            sha1,
            chain: None,
        },
        target: dir.join(name),
        progress: Progress::Running,
        verified: None,
        part: None,
        begun_ms: u64::from(number),
    }
}

/// Does one thing or another with a download; most of them are refused, as it is not in the state
/// for that.
fn meddle(client: &Client, row: &DownloadRow, what: usize) {
    let inner = &client.inner;
    let handle = DownloadHandle::new(inner, Arc::new(row.clone()));
    let _ = match what % 6 {
        0 | 1 if inner.view().library.download(row.facts.info_hash).is_none() => inner
            .begin_row(row.clone(), false, &mut |_, _| true)
            .and_then(Beginning::wait)
            .map(drop),
        0 | 1 => handle.resume(),
        2 => handle.pause(),
        3 => handle.cancel(),
        4 => client.prioritize("lab", row.label.as_str()),
        _ => {
            client.limit_downloads(1 + what % 3);
            Ok(())
        }
    };
}

/// Tells whether the queue, the library and the engine fit.
fn is_consistent(client: &Client) -> bool {
    let view = client.inner.view();
    let library = &view.library;
    let running = library.queue.running();
    let waiting = library.queue.places();
    let fits = |download: &Download| {
        let (info_hash, transfer) = (download.info_hash(), client.inner.live(download));
        let is_at_work = transfer
            .is_some_and(|transfer| !matches!(transfer.status().state, TransferState::Paused(_)));
        match download.row.progress {
            Progress::Running if waiting.contains_key(&info_hash) => download.queued && !is_at_work,
            Progress::Running => running.contains(&info_hash) && !download.queued && is_at_work,
            Progress::Cancelled => false,
            _ => !running.contains(&info_hash) && !waiting.contains_key(&info_hash) && !is_at_work,
        }
    };
    let is_known = |info_hash: &InfoHash| library.download(*info_hash).is_some();
    library.downloads().all(fits)
        && running.iter().chain(waiting.keys()).all(is_known)
        && !library.queue.is_unused()
}

#[test]
fn whatever_comes_between_no_slot_is_lost_and_nothing_cancelled_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, fake) = (dir.path().join("data"), Fake::start(usual));
    let client = client_of(&data_dir, &[&fake]);
    client.limit_downloads(2);
    log_in(&client);
    for round in 0..4 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (client, dir) = (&client, dir.path());
                scope.spawn(move || {
                    (0..40).for_each(|step: usize| {
                        meddle(
                            client,
                            &row(dir, (step * 3 + thread) as u8 % FILES),
                            step * 7 + thread + round,
                        )
                    })
                });
            }
        });
        wait_for("everything is as it should be", || is_consistent(&client));
        let stored = client.inner.store.downloads(user().user).unwrap();
        let view = client.inner.view();
        let known = |row: &DownloadRow| {
            let download = view.library.download(row.facts.info_hash);
            download.is_some_and(|download| download.row.progress == row.progress)
        };
        assert!(
            stored.iter().all(known) && stored.len() == view.library.downloads().count(),
            "{stored:?}"
        );
    }
    for number in 0..FILES {
        let row = Arc::new(row(dir.path(), number));
        let _ = DownloadHandle::new(&client.inner, row).cancel();
    }
    assert!(client.inner.view().library.queue.running().is_empty());
    assert_eq!(client.inner.store.downloads(user().user).unwrap(), []);
}
