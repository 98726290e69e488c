//! The rate limiters of both directions: the pure ones of [`crate::swarm::serve::limiter`] under
//! locks, with the threads that wait for them.

pub(crate) mod download;
pub(crate) mod upload;

use parking_lot::Mutex;

use self::download::DownloadLimiter;
use self::upload::UploadLimiter;
use crate::swarm::api::Limits;

pub(crate) struct RateLimiter {
    pub(crate) upload: UploadLimiter,
    pub(crate) download: DownloadLimiter,
    limits: Mutex<Limits>,
}

impl RateLimiter {
    pub(crate) fn new(limits: Limits) -> Self {
        let (upload, download) =
            (UploadLimiter::new(limits.upload), DownloadLimiter::new(limits.download));
        Self { upload, download, limits: Mutex::new(limits) }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut current = self.limits.lock();
        self.upload.set_rate(limits.upload);
        self.download.set_rate(limits.download);
        *current = limits;
    }
}
