//! A client of tests.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::{
    Account, Api, ApiError, Command, Content, ErrorCode, Limits, OnProgress, Progress, Reply,
    Snapshot, Traffic, Update, VERSION, Work,
};
use crate::net::Stop;
use crate::types::{DeviceId, FileName, Sha1Digest, UserId};

const PATIENCE: Duration = Duration::from_secs(30);

/// A client that records commands. `why` waits for its stop; `upload_file` reports progress three
/// times.
#[derive(Default)]
pub(crate) struct Scripted {
    /// What it was asked.
    pub(crate) asked: Mutex<Vec<Command>>,
    /// What has ended.
    pub(crate) ended: Arc<Mutex<Vec<String>>>,
    /// Who reads its updates.
    pub(crate) subscribers: Mutex<Vec<Sender<Update>>>,
    /// Bytes of the snapshot's warning.
    pub(crate) warning_len: Mutex<usize>,
}

impl Api for Scripted {
    fn call(
        &self,
        command: Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> Result<Reply, ApiError> {
        self.asked.lock().push(command.clone());
        match command {
            Command::Whoami => {
                let (user, user_id) = ("nik".parse().unwrap(), UserId::from_bytes([1; 16]));
                Ok(Reply::Account(Account {
                    user,
                    user_id,
                    must_change_password: false,
                    stays: false,
                }))
            }
            Command::Why { file, .. } => {
                stop.wait(PATIENCE);
                self.ended.lock().push(file);
                Err(ApiError::interrupted())
            }
            Command::UploadFile { .. } => {
                for done in 0..3 {
                    if !progress(Progress { work: Work::Hashing, done, size: 3 }) {
                        self.ended.lock().push("upload".into());
                        return Err(ApiError::interrupted());
                    }
                }
                Err(ApiError::new(ErrorCode::Quota, "you are full"))
            }
            _ => Ok(Reply::Done),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, ApiError> {
        Ok(Snapshot {
            api: VERSION,
            version: "1".into(),
            revision: 7,
            address: "127.0.0.1:1".into(),
            device: DeviceId::from_bytes([1; 32]),
            data_dir: "/".into(),
            network: None,
            account: None,
            session_ended: None,
            downloads: Vec::new(),
            last_end: 0,
            limits: Limits { upload: None, download: None, downloads: None, limited: Vec::new() },
            traffic: Traffic::default(),
            page: None,
            warning: Some("x".repeat(*self.warning_len.lock())).filter(|text| !text.is_empty()),
        })
    }

    fn subscribe(&self, _moving: bool) -> Result<Receiver<Update>, ApiError> {
        let (sender, receiver) = bounded(100);
        self.subscribers.lock().push(sender);
        Ok(receiver)
    }

    fn open(&self, group: &str, file: &str) -> Result<Box<dyn Content>, ApiError> {
        let name: Result<FileName, _> = file.parse();
        match name.ok().filter(|_| group == "the lab") {
            Some(name) => Ok(Box::new(Scroll { name, ended: self.ended.clone() })),
            None => Err(ApiError::new(ErrorCode::NotHere, "download it first")),
        }
    }
}

/// Content of zeros, of which the second mebibyte does not come.
struct Scroll {
    name: FileName,
    ended: Arc<Mutex<Vec<String>>>,
}

impl Content for Scroll {
    fn name(&self) -> FileName {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        4 << 20
    }

    fn sha1(&self) -> Sha1Digest {
        Sha1Digest::from_bytes([7; 20])
    }

    fn read_at(&mut self, bytes: &mut [u8], offset: u64, stop: &Stop) -> Result<usize, ApiError> {
        if (1 << 20..2 << 20).contains(&offset) {
            stop.wait(PATIENCE);
            return Err(ApiError::interrupted());
        }
        // Less than is asked for, as at the end of what has come.
        Ok(bytes.len().min(100_000))
    }
}

impl Drop for Scroll {
    fn drop(&mut self) {
        self.ended.lock().push(self.name.to_string());
    }
}
