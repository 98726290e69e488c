//! The commands about devices.

use serde_json::{Value, json};

use super::answer::Answer;
use super::output::Format;
use super::render::date;
use super::session::Shell;
use crate::client::devices::short_id;
use crate::client::{ClientError, Device};
use crate::types::Stamp;

impl Shell {
    /// Carries out `devices`.
    pub(super) fn devices(&self) -> Result<Answer, ClientError> {
        let devices = self.client.devices()?;
        let format = self.output.format();
        let rows = devices.iter().map(|device| row(device, format)).collect();
        Ok(Answer::rows(rows, "no devices")
            .with("devices", devices.iter().map(value).collect::<Vec<_>>()))
    }

    /// Carries out `forget_device`.
    pub(super) fn forget_device(&self, text: &str) -> Result<Answer, ClientError> {
        let device = self.client.forget_device(text)?;
        let name = device.entry.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let id = short_id(device.entry.device);
        let told = match device.is_this {
            true => format!("forgot this device, {id}{name}, and logged out"),
            false => format!("forgot the device {id}{name}"),
        };
        Ok(Answer::line(told)
            .with("device", device.entry.device.to_string())
            .with("this", device.is_this))
    }
}

fn row(device: &Device, format: Format) -> Vec<String> {
    let entry = &device.entry;
    let id = match format {
        Format::Table => short_id(entry.device),
        Format::Plain | Format::Json => entry.device.to_string(),
    };
    let name = entry.name.as_ref().map_or("-".to_owned(), ToString::to_string);
    let stays = match entry.stays_since {
        Some(since) => format!("stays since {}", date(since.ms())),
        None => "does not stay".to_owned(),
    };
    let address = entry.address.map_or(String::new(), |address| format!(" at {}", address.ip()));
    let seen = match (entry.online, entry.seen_ms) {
        (true, _) => format!("logged in{address}"),
        (false, 0) => "not seen lately".to_owned(),
        (false, at_ms) => format!("last seen {}{address}", date(at_ms)),
    };
    let mut row = vec![id, name, stays, seen];
    row.extend(device.is_this.then(|| "this device".to_owned()));
    row
}

fn value(device: &Device) -> Value {
    let entry = &device.entry;
    json!({
        "device": entry.device.to_string(), "name": entry.name.as_ref().map(|name| name.as_str()),
        "this": device.is_this, "stays": entry.stays_since.is_some(),
        "stays_since_ms": entry.stays_since.map(Stamp::ms), "online": entry.online,
        "address": entry.address.map(|address| address.ip().to_string()),
        "seen_ms": Some(entry.seen_ms).filter(|at_ms| *at_ms > 0),
    })
}
