//! Metrics in OpenMetrics' text format.
//!
//! **Invariant:** labels have few values that the program chooses. Names of users, groups and files
//! are in no label.

use std::io;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Responder, StatusCode};

/// The media type of the text format.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one scrape.
pub struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self(Registry::with_prefix("posse"));
        // A gauge, since Prometheus's own tools do not know OpenMetrics' type for it.
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        metrics.gauges("build_info", "The program's version", "version", version);
        metrics
    }
}

impl Metrics {
    /// Adds a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    /// Adds a value that only grows while the program runs.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    /// Adds a value in bytes.
    pub fn bytes(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register_with_unit(name, help, Unit::Bytes, gauge);
    }

    /// Adds a duration.
    pub fn seconds(&mut self, name: &str, help: &str, value: std::time::Duration) {
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(value.as_secs_f64());
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }

    /// Adds a value for each of a few words.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let family = Family::<Vec<(&'static str, String)>, Gauge>::default();
        for (word, value) in values {
            let gauge = family.get_or_create(&vec![(label, word.to_owned())]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.0.register(name, help, family);
    }

    /// Sends them.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, responder: Responder<'_>) -> io::Result<()> {
        let mut text = String::new();
        encode(&mut text, &self.0).map_err(io::Error::other)?;
        responder.send(StatusCode::OK, MEDIA_TYPE, text.as_bytes())
    }
}
