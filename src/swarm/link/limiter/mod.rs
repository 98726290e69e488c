//! The rate limiters of both directions, with their locks and threads.

pub(crate) mod download;
pub(crate) mod upload;

use parking_lot::Mutex;

use self::download::DownloadPace;
use self::upload::UploadPace;
use crate::swarm::serve::limiter::Limits;

/// Both directions of one engine.
pub(crate) struct Pace {
    pub(crate) upload: UploadPace,
    pub(crate) download: DownloadPace,
    limits: Mutex<Limits>,
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Self {
        let (upload, download) =
            (UploadPace::new(limits.upload), DownloadPace::new(limits.download));
        Self { upload, download, limits: Mutex::new(limits) }
    }

    /// The limits now.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Sets other limits; they count at once.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut now = self.limits.lock();
        self.upload.set_rate(limits.upload);
        self.download.set_rate(limits.download);
        *now = limits;
    }
}
