//! The commands about devices.

use super::answer::Answer;
use super::output::Format;
use super::render::{date, to_value};
use super::session::Shell;
use crate::client::api::{ApiError, Command, UserDevice};
use crate::types::DeviceId;

/// Hexadecimal digits by which devices are shown to people.
const SHORT_ID_LEN: usize = 12;

impl Shell {
    /// Carries out `devices`.
    pub(super) fn devices(&self) -> Result<Answer, ApiError> {
        let devices = self.call(Command::Devices)?.devices()?;
        let format = self.output.format();
        let rows = devices.iter().map(|device| row(device, format)).collect();
        Ok(Answer::rows(rows, "no devices")
            .with("devices", devices.iter().map(to_value).collect::<Vec<_>>()))
    }

    /// Carries out `forget_device`.
    pub(super) fn forget_device(&self, text: &str) -> Result<Answer, ApiError> {
        let forgotten = self.call(Command::ForgetDevice { device: text.to_owned() })?.devices()?;
        let [device] = &forgotten[..] else { return Err(ApiError::bad_reply()) };
        let name = device.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let id = short_id(device.device);
        let told = match device.this {
            true => format!("forgot this device, {id}{name}, and logged out"),
            false => format!("forgot the device {id}{name}"),
        };
        Ok(Answer::line(told).with("device", device.device.to_string()).with("this", device.this))
    }
}

/// The beginning of a device's id, for people.
pub(super) fn short_id(device: DeviceId) -> String {
    let mut text = device.to_string();
    text.truncate(SHORT_ID_LEN);
    text
}

fn row(device: &UserDevice, format: Format) -> Vec<String> {
    let id = match format {
        Format::Table => short_id(device.device),
        Format::Plain | Format::Json => device.device.to_string(),
    };
    let name = device.name.clone().unwrap_or_else(|| "-".to_owned());
    let stays = match device.stays_since_ms {
        Some(since) => format!("stays since {}", date(since)),
        None => "does not stay".to_owned(),
    };
    let address = device.address.as_ref().map_or(String::new(), |ip| format!(" at {ip}"));
    let seen = match (device.online, device.seen_ms) {
        (true, _) => format!("logged in{address}"),
        (false, None) => "not seen lately".to_owned(),
        (false, Some(at_ms)) => format!("last seen {}{address}", date(at_ms)),
    };
    let mut row = vec![id, name, stays, seen];
    row.extend(device.this.then(|| "this device".to_owned()));
    row
}
