//! The RPC against requests as transmission-remote 3.00 sends them.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::*;
use crate::client::api::samples::Scripted;
use crate::client::api::{
    Account, Content, Direction, Download, DownloadState, OnProgress, Page, Peer, Peers, Pieces,
    Snapshot, Traffic, Update, Upload,
};
use crate::client::routes::Validity;
use crate::net::Stop;
use crate::types::{GroupId, InfoHash, Rate, UserId};

/// The fields that `transmission-remote -l` asks for.
const LIST: &str = r#"{"arguments":{"fields":["error","errorString","eta","id","isFinished",
    "leftUntilDone","name","peersGettingFromUs","peersSendingToUs","rateDownload","rateUpload",
    "sizeWhenDone","status","uploadRatio"]},"method":"torrent-get","tag":4}"#;
/// Those of `-i`.
const DETAILS: &str = r#"{"arguments":{"fields":["activityDate","addedDate","bandwidthPriority",
    "comment","corruptEver","creator","dateCreated","desiredAvailable","doneDate","downloadDir",
    "downloadedEver","downloadLimit","downloadLimited","error","errorString","eta","hashString",
    "haveUnchecked","haveValid","honorsSessionLimits","id","isFinished","isPrivate","labels",
    "leftUntilDone","magnetLink","name","peersConnected","peersGettingFromUs","peersSendingToUs",
    "peer-limit","pieceCount","pieceSize","rateDownload","rateUpload","recheckProgress",
    "secondsDownloading","secondsSeeding","seedRatioMode","seedRatioLimit","sizeWhenDone",
    "startDate","status","totalSize","uploadedEver","uploadLimit","uploadLimited","webseeds",
    "webseedsSendingToUs"],"ids":1},"method":"torrent-get","tag":2}"#;

/// A client with downloads and shares, which notes what it is asked.
#[derive(Default)]
struct Fake {
    downloads: Mutex<Vec<Download>>,
    uploads: Mutex<Vec<Upload>>,
    asked: Mutex<Vec<Command>>,
    is_logged_out: bool,
}

impl Api for Fake {
    fn call(&self, command: Command, _: &Stop, _: OnProgress<'_>) -> Result<Reply, ApiError> {
        if let Command::ShowUploads { listing } = &command {
            // Two pages.
            let all = self.uploads.lock();
            let begin = usize::from(listing.after.is_some());
            let entries: Vec<Upload> = match begin {
                0 => all.iter().take(1).cloned().collect(),
                _ => all.iter().skip(1).cloned().collect(),
            };
            let more = begin == 0 && all.len() > 1;
            return Ok(Reply::Uploads(Page { entries, more, next: more.then(|| "1".into()) }));
        }
        self.asked.lock().push(command.clone());
        match command {
            Command::DownloadFile { group, file, .. } => {
                let begun = Download {
                    group: group.parse().unwrap(),
                    file: file.parse().unwrap(),
                    ..download(9, DownloadState::Running)
                };
                self.downloads.lock().push(begun.clone());
                Ok(Reply::Download(begun))
            }
            Command::ShowPeers { .. } => Ok(Reply::Peers(Peers {
                info_hash: InfoHash::from_bytes([1; 20]),
                pieces: 4,
                peers: vec![peer()],
            })),
            Command::ShowPieces { .. } => Ok(Reply::Pieces(Pieces {
                info_hash: InfoHash::from_bytes([1; 20]),
                size: 1_000_000,
                piece_size: 300_000,
                pieces: 4,
                pieces_per_bucket: 1,
                have: vec![1, 0, 0, 0],
                partial: vec![0; 4],
                requested: vec![0; 4],
                availability: Some(vec![1, 2, 0, 1]),
            })),
            Command::StopShare { .. } => Err(ApiError::new(ErrorCode::Refused, "no")),
            _ => Ok(Reply::Done),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, ApiError> {
        let account = Account {
            user: "nik".parse().unwrap(),
            user_id: UserId::from_bytes([1; 16]),
            must_change_password: false,
            stays: false,
        };
        Ok(Snapshot {
            address: "127.0.0.1:6001".into(),
            account: (!self.is_logged_out).then_some(account),
            downloads: self.downloads.lock().clone(),
            traffic: Traffic { received_per_second: 50_000, bytes_sent: 7, ..Traffic::default() },
            ..Scripted::default().snapshot()?
        })
    }

    fn subscribe(&self, _: bool) -> Result<Receiver<Update>, ApiError> {
        Err(ApiError::bad_reply())
    }

    fn open(&self, _: &str, _: &str) -> Result<Box<dyn Content>, ApiError> {
        Err(ApiError::bad_reply())
    }
}

fn download(number: u8, state: DownloadState) -> Download {
    Download {
        lan: 0,
        punched: 0,
        relayed: 0,
        group: "lab".parse().unwrap(),
        group_id: GroupId::from_bytes([1; 16]),
        file: format!("file {number}").parse().unwrap(),
        info_hash: InfoHash::from_bytes([number; 20]),
        state,
        reason: None,
        path: format!("/srv/files/file {number}"),
        size: 1_000_000,
        bytes_done: 250_000,
        bytes_per_second: 50_000,
        bytes_sent: 0,
        sent_per_second: 0,
        peers: 2,
        seconds_left: Some(15),
        place: None,
        limit: None,
        ended: None,
    }
}

fn peer() -> Peer {
    Peer {
        relayed: false,
        user: Some("eve".parse().unwrap()),
        user_id: UserId::from_bytes([2; 16]),
        device: crate::types::DeviceId::from_bytes([3; 32]),
        address: "10.0.0.7:6001".parse().unwrap(),
        direction: Direction::In,
        punched: false,
        lan: false,
        group_id: GroupId::from_bytes([1; 16]),
        since_ms: 0,
        pieces: Some(2),
        received_per_second: 5000,
        sent_per_second: 0,
        bytes_received: 1,
        bytes_sent: 0,
        interested: true,
        choked: false,
        peer_interested: true,
        peer_choked: true,
        requests: 1,
        peer_requests: 0,
    }
}

fn upload(number: u8) -> Upload {
    Upload {
        group: "lab".parse().unwrap(),
        group_id: GroupId::from_bytes([1; 16]),
        file: format!("file {number}").parse().unwrap(),
        info_hash: InfoHash::from_bytes([number; 20]),
        path: format!("/srv/files/file {number}"),
        size: 4_000_000,
        bytes_here: None,
        peers: 3,
        bytes_sent: 6_000_000,
        sent_per_second: 0,
        to: Vec::new(),
        bad_data_members: 0,
        unreachable: None,
    }
}

struct Someone(Rights, Directories);

impl Someone {
    fn new(rights: Rights) -> Self {
        Self(rights, directories())
    }
}

fn directories() -> Directories {
    Directories::new(vec![std::env::temp_dir().canonicalize().unwrap()], Vec::new())
}

impl Caller for Someone {
    fn rights(&self) -> Rights {
        self.0
    }

    fn validity(&self) -> Validity {
        Arc::new(|| true)
    }

    fn expires_ms(&self) -> Option<u64> {
        None
    }

    fn directories(&self) -> Option<&Directories> {
        Some(&self.1)
    }
}

struct Stage {
    client: Arc<Fake>,
    routes: Routes,
    rpc: Rpc,
}

impl Stage {
    fn new(downloads: &[Download], uploads: &[Upload]) -> Self {
        let client = Arc::new(Fake {
            downloads: Mutex::new(downloads.to_vec()),
            uploads: Mutex::new(uploads.to_vec()),
            ..Fake::default()
        });
        Self::of(client)
    }

    fn of(client: Arc<Fake>) -> Self {
        let routes = Routes::start(client.clone(), String::new).unwrap();
        let rpc = Rpc::new(client.clone(), &directories()).unwrap();
        Self { client, routes, rpc }
    }

    fn ask_as(&self, rights: Rights, body: &str) -> Result<Value, Problem> {
        let asked: Asked = serde_json::from_str(body).unwrap();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (caller, socket) = (Someone::new(rights), Arc::new(ours));
        let call = Call { rpc: &self.rpc, routes: &self.routes, caller: &caller, socket };
        call.carry_out(&asked)
    }

    #[track_caller]
    fn ask(&self, body: &str) -> Value {
        self.ask_as(Rights::Manage, body).unwrap()
    }

    #[track_caller]
    fn refused(&self, body: &str, why: &str) {
        let Problem::Told(error) = self.ask_as(Rights::Manage, body).unwrap_err() else {
            panic!("a token that may manage is not allowed")
        };
        assert!(error.message.contains(why), "{error}");
    }

    fn asked(&self) -> Vec<Command> {
        std::mem::take(&mut self.client.asked.lock())
    }
}

#[test]
fn a_list_has_the_fields_that_are_asked_for() {
    let stage = Stage::new(&[download(1, DownloadState::Running)], &[upload(2)]);
    let value = stage.ask(LIST);
    let want = json!({ "torrents": [
        {
            "error": 0, "errorString": "", "eta": 15, "id": 1, "isFinished": false,
            "leftUntilDone": 750_000, "name": "file 1", "peersGettingFromUs": 0,
            "peersSendingToUs": 2, "rateDownload": 50_000, "rateUpload": 0,
            "sizeWhenDone": 1_000_000, "status": 4, "uploadRatio": 0.0
        },
        {
            "error": 0, "errorString": "", "eta": -1, "id": 2, "isFinished": false,
            "leftUntilDone": 0, "name": "file 2", "peersGettingFromUs": 3, "peersSendingToUs": 0,
            "rateDownload": 0, "rateUpload": 0, "sizeWhenDone": 4_000_000, "status": 6,
            "uploadRatio": 1.5
        },
    ]});
    assert_eq!(value, want);
    let details = stage.ask(DETAILS)["torrents"][0].clone();
    for (field, want) in [
        ("hashString", json!("01".repeat(20))),
        ("downloadDir", json!("/srv/files")),
        ("labels", json!(["lab"])),
        ("isPrivate", json!(true)),
        ("haveValid", json!(250_000)),
    ] {
        assert_eq!(details[field], want, "{field}");
    }
    assert_eq!(
        (&details["pieceCount"], &details["desiredAvailable"]),
        (&json!(4), &json!(400_000))
    );
    // What is not known is left out, and not made up.
    assert!(details.get("peer-limit").is_none() && details.get("magnetLink").is_none());
    let files = stage.ask(
        r#"{"arguments":{"fields":["files","name","priorities","wanted"],"ids":1},"method":"torrent-get","tag":3}"#,
    );
    let file = json!({ "name": "file 1", "length": 1_000_000, "bytesCompleted": 250_000 });
    let want = json!({ "files": [file], "name": "file 1", "priorities": [0], "wanted": [true] });
    assert_eq!(files["torrents"], json!([want]));
    let peers = r#"{"arguments":{"fields":["peers"],"ids":1},"method":"torrent-get","tag":5}"#;
    let peer = stage.ask(peers)["torrents"][0]["peers"][0].clone();
    for (field, want) in [
        ("address", json!("10.0.0.7")),
        ("clientName", json!("Posse, eve")),
        ("flagStr", json!("DuEI")),
        ("progress", json!(0.5)),
        ("rateToClient", json!(5000)),
        ("rateToPeer", json!(0)),
    ] {
        assert_eq!(peer[field], want, "{field}");
    }
    let pieces = r#"{"arguments":{"fields":["pieces","pieceCount"],"ids":1},"method":"torrent-get","tag":6}"#;
    assert_eq!(stage.ask(pieces)["torrents"], json!([{ "pieces": "gA==", "pieceCount": 4 }]));
    stage.refused(r#"{"method":"torrent-get"}"#, "no fields specified");
}

#[test]
fn torrents_are_chosen_by_number_by_hash_and_by_what_changed() {
    let paused = download(3, DownloadState::Paused);
    let stage = Stage::new(&[download(1, DownloadState::Running), paused], &[upload(2)]);
    let ids = |ids: Value| {
        let arguments = json!({ "fields": ["id"], "ids": ids });
        let asked = json!({ "method": "torrent-get", "arguments": arguments });
        let value = stage.ask(&asked.to_string());
        let ids = value["torrents"].as_array().unwrap().iter().map(|one| one["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(json!([1, 3, 9])), [1, 3]);
    assert_eq!(ids(json!("03".repeat(20))), [2]);
    assert_eq!(ids(json!(["01".repeat(20), 3])), [1, 3]);
    assert_eq!(ids(json!("recently-active")), [1, 2, 3], "all are new");
    let table = r#"{"method":"torrent-get","arguments":{"fields":["id","no","name"],"format":"table","ids":[3]}}"#;
    assert_eq!(stage.ask(table)["torrents"], json!([["id", "name"], [3, "file 2"]]));
}

#[test]
fn numbers_stay_and_are_not_given_again() {
    let (mut table, begun) = (Table::default(), Instant::now());
    let at = |seconds| begun + Duration::from_secs(seconds);
    let ids = |torrents: Vec<Torrent>| torrents.iter().map(|t| t.id).collect::<Vec<_>>();
    let one = || download(1, DownloadState::Running);
    assert_eq!(ids(table.number(vec![one()], vec![upload(2)], at(0))), [1, 2]);
    assert_eq!(ids(table.number(Vec::new(), vec![upload(2)], at(1))), [2]);
    assert_eq!(table.removed(at(1)), [1]);
    // A download that was away while it became a share.
    assert_eq!(ids(table.number(Vec::new(), vec![upload(1), upload(2)], at(2))), [1, 2]);
    assert_eq!(table.removed(at(2)), [0; 0]);
    table.number(Vec::new(), vec![upload(2)], at(3));
    let later = table.number(vec![one()], vec![upload(2)], at(70));
    assert_eq!(ids(later.clone()), [2, 3]);
    assert_eq!(later.iter().map(|t| t.is_recent).collect::<Vec<_>>(), [false, true]);
    // A content in two groups is one torrent.
    let more = Upload { bytes_sent: 7_000_000, sent_per_second: 100_000, ..upload(2) };
    let shown = table.number(Vec::new(), vec![more.clone(), more], at(80));
    assert_eq!((shown.len(), shown[0].sent_per_second, shown[0].is_recent), (1, 100_000, true));
}

#[test]
fn a_download_is_added_by_its_group_and_name() {
    let stage = Stage::new(&[download(1, DownloadState::Running)], &[]);
    let added = stage
        .ask(r#"{"arguments":{"filename":"posse:lab/a film.mkv"},"method":"torrent-add","tag":8}"#);
    let hash = "09".repeat(20);
    assert_eq!(
        added,
        json!({ "torrent-added": { "id": 2, "name": "a film.mkv", "hashString": hash } })
    );
    let [Command::DownloadFile { group, file, destination, .. }] = &stage.asked()[..] else {
        panic!("one download was to begin")
    };
    assert_eq!((group.as_str(), file.as_str()), ("lab", "a film.mkv"));
    let home = directories().roots()[0].clone();
    assert_eq!(destination, &home);
    let again = stage.ask(r#"{"arguments":{"filename":"lab/a film.mkv"},"method":"torrent-add"}"#);
    assert_eq!(again["torrent-duplicate"]["id"], 2);
    assert!(stage.asked().is_empty());
    let elsewhere = tempfile::tempdir_in(&home).unwrap().keep();
    let arguments = json!({ "filename": "lab/b", "download-dir": elsewhere, "paused": true });
    let asked = json!({ "method": "torrent-add", "arguments": arguments });
    stage.refused(&asked.to_string(), "in no directory that the page may use");
    let elsewhere = {
        std::fs::remove_dir(elsewhere).unwrap();
        tempfile::Builder::new().prefix("posse-test-").tempdir_in(&home).unwrap()
    };
    let arguments =
        json!({ "filename": "lab/b", "download-dir": elsewhere.path(), "paused": true });
    stage.ask(&json!({ "method": "torrent-add", "arguments": arguments }).to_string());
    assert!(matches!(&stage.asked()[..],
        [Command::DownloadFile { destination, .. }, Command::PauseDownload { file, .. }]
        if destination == elsewhere.path() && file == "b"));
    // As `--start-paused` does.
    stage.ask(r#"{"arguments":{"start-added-torrents":false},"method":"session-set"}"#);
    stage.ask(r#"{"arguments":{"filename":"lab/c"},"method":"torrent-add"}"#);
    assert_eq!(stage.asked().len(), 2);
    for bad in ["", "lab", "posse:lab/", "/x", "magnet:?xt=urn:btih:00"] {
        let asked = json!({ "method": "torrent-add", "arguments": { "filename": bad } });
        stage.refused(&asked.to_string(), "names no file of a group");
    }
    stage.refused(
        r#"{"method":"torrent-add","arguments":{"metainfo":"ZGU="}}"#,
        "takes no .torrent files",
    );
}

#[test]
fn downloads_are_stopped_started_and_removed_and_files_stay() {
    let queued = Download { place: Some(1), ..download(3, DownloadState::Queued) };
    let downloads =
        [download(1, DownloadState::Running), download(2, DownloadState::Paused), queued];
    let stage = Stage::new(&downloads, &[upload(4)]);
    stage.ask(r#"{"arguments":{"ids":[1,2]},"method":"torrent-stop"}"#);
    assert!(matches!(&stage.asked()[..],
        [Command::PauseDownload { group, file }] if group == "lab" && file == "file 1"));
    stage.refused(r#"{"arguments":{"ids":4},"method":"torrent-stop"}"#, "file 4: it is shared");
    stage.ask(r#"{"arguments":{},"method":"torrent-start"}"#);
    assert!(
        matches!(&stage.asked()[..], [Command::ResumeDownload { file, .. }] if file == "file 2")
    );
    stage.ask(r#"{"arguments":{"ids":[2,3]},"method":"torrent-start-now"}"#);
    let words = stage.asked().iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(" ");
    assert!(words.contains("Resume") && words.matches("Prioritize").count() == 2, "{words}");
    stage.ask(r#"{"arguments":{"ids":[1,3]},"method":"queue-move-top"}"#);
    assert!(matches!(&stage.asked()[..], [Command::Prioritize { file, .. }] if file == "file 3"));
    stage.ask(r#"{"arguments":{"delete-local-data":true,"ids":1},"method":"torrent-remove"}"#);
    assert!(matches!(&stage.asked()[..], [Command::CancelDownload { .. }]));
    let delete = r#"{"arguments":{"delete-local-data":true,"ids":4},"method":"torrent-remove"}"#;
    stage.refused(delete, "Posse deletes no complete file");
    assert!(stage.asked().is_empty());
    // An error does not spare the others.
    stage.refused(r#"{"arguments":{"ids":[4,1]},"method":"torrent-remove"}"#, "file 4: no");
    assert_eq!(stage.asked().len(), 2);
    stage.refused(r#"{"arguments":{"ids":[1,77]},"method":"torrent-stop"}"#, "no torrent 77");
}

#[test]
fn limits_are_in_kilobytes_and_unknown_settings_are_refused() {
    let limited =
        Download { limit: Some(Rate::new(20_000).unwrap()), ..download(2, DownloadState::Running) };
    let stage = Stage::new(&[download(1, DownloadState::Running), limited], &[]);
    stage.ask(r#"{"arguments":{"downloadLimit":500,"downloadLimited":true,"ids":1},"method":"torrent-set"}"#);
    stage.ask(r#"{"arguments":{"downloadLimited":false,"ids":2},"method":"torrent-set"}"#);
    let limits: Vec<Option<u64>> = stage
        .asked()
        .into_iter()
        .map(|command| match command {
            Command::LimitDownload { limit, .. } => limit.map(Rate::get),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(limits, [Some(500_000), None]);
    for (arguments, why) in [
        (json!({ "uploadLimit": 5 }), "uploadLimit"),
        (json!({ "downloadLimit": 5, "downloadLimited": true }), "too low"),
        (json!({ "downloadLimit": 50, "ids": 1 }), "downloadLimited is missing"),
        (json!({ "downloadLimited": true, "ids": 1 }), "downloadLimit is missing"),
    ] {
        let asked = json!({ "method": "torrent-set", "arguments": arguments });
        stage.refused(&asked.to_string(), why);
    }
    stage.ask(
        r#"{"arguments":{"speed-limit-down":300,"speed-limit-down-enabled":true,"download-queue-size":2,
            "download-queue-enabled":true},"method":"session-set"}"#,
    );
    assert!(matches!(&stage.asked()[..],
        [Command::LimitDownloads { limit: Some(rate) }, Command::LimitRunning { count: 2 }]
        if rate.get() == 300_000));
    let session = stage.ask(r#"{"method":"session-get","tag":0}"#);
    assert_eq!((&session["rpc-version"], &session["peer-port"]), (&json!(16), &json!(6001)));
    assert_eq!(session["speed-limit-down"], 300, "it counts once the limit is on");
    let one = stage.ask(r#"{"method":"session-get","arguments":{"fields":["version","no"]}}"#);
    assert_eq!(one, json!({ "version": "3.00 (Posse 1)" }));
    stage.refused(
        r#"{"arguments":{"alt-speed-enabled":true},"method":"session-set"}"#,
        "alt-speed-enabled",
    );
    stage.refused(
        r#"{"arguments":{"download-dir":"/etc","speed-limit-up-enabled":true},"method":"session-set"}"#,
        "/etc is in no directory",
    );
    assert!(stage.asked().is_empty(), "nothing was changed");
}

#[test]
fn a_token_that_may_look_calls_the_methods_that_look() {
    let stage = Stage::new(&[download(1, DownloadState::Running)], &[upload(2)]);
    for (method, needs) in METHODS {
        let asked = json!({ "method": method, "arguments": { "fields": ["id"] } }).to_string();
        let done = stage.ask_as(Rights::Read, &asked);
        let is_refused = matches!(done, Err(Problem::NotAllowed(_)));
        assert_eq!(is_refused, needs > Rights::Read, "{method}: {done:?}");
    }
    assert!(stage.asked().is_empty());
    let stats = stage.ask(r#"{"method":"session-stats","tag":1}"#);
    assert_eq!((&stats["torrentCount"], &stats["downloadSpeed"]), (&json!(2), &json!(50_000)));
    assert_eq!(stats["current-stats"]["uploadedBytes"], 7);
    stage.refused(r#"{"method":"blocklist-update"}"#, "method name not recognized");
    let nobody = Stage::of(Arc::new(Fake { is_logged_out: true, ..Fake::default() }));
    nobody.refused(LIST, "nobody is logged in");
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.routes.stop();
    }
}
