//! The devices of the session's user: listing and forgetting them.

use super::error::ClientError;
use super::session::input::Command;
use super::start::Client;
use super::trackers::Need;
use crate::types::{DeviceEntry, DeviceId, Refusal};
use crate::wire::tracker::{Reply, Request};

/// Hexadecimal digits of a device's id as shown to users.
pub(crate) const SHORT_ID_LEN: usize = 12;

/// A device of the session's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The tracker's entry.
    pub entry: DeviceEntry,
    /// It is this device.
    pub is_this: bool,
}

impl Client {
    /// The devices that may log in as the session's user by their key, and those that are logged
    /// in.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], [`Refusal::Unsupported`] if no tracker supports devices.
    pub fn devices(&self) -> Result<Vec<Device>, ClientError> {
        match self.inner.trackers.call(&Request::ListDevices, Need::Session)? {
            Reply::Devices(entries) => {
                let device =
                    |entry: DeviceEntry| Device { is_this: entry.device == self.device(), entry };
                Ok(entries.into_iter().map(device).collect())
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// Forgets a device of the session's user, at once and at every tracker: it can no longer log
    /// in by its key, and its session and links end. `text` is its name, or the beginning of its
    /// id. If it is this device, the session ends here. Returns the device.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] if no device matches, or several do.
    pub fn forget_device(&self, text: &str) -> Result<Device, ClientError> {
        let device = find(self.devices()?, text)?;
        let trackers = &self.inner.trackers;
        let request = trackers.request_stamp();
        let request = Request::ForgetDevice { request, device: device.entry.device };
        if !device.is_this {
            self.done(&request, Need::Session)?;
            return Ok(device);
        }
        let user = self.inner.need_user()?;
        // Trackers may revoke this session's token before the answer arrives; that is expected.
        let changing = trackers.changing_password();
        match self.done(&request, Need::Session) {
            // Or the answer was lost: the session has ended because the request was carried out.
            Ok(())
            | Err(ClientError::Refused(Refusal::SessionOver | Refusal::LoginFirst))
            | Err(ClientError::SessionEnded(_)) => {}
            Err(error) => return Err(error),
        }
        self.inner.stop_staying(user.user);
        drop(changing);
        match self.inner.ask(Command::Leave(None)) {
            // A tracker has reported the end of the session first.
            Ok(_) | Err(ClientError::Refused(Refusal::LoginFirst)) => Ok(device),
            Err(error) => Err(error),
        }
    }
}

/// Finds the device with that name, or with an id that begins so.
fn find(devices: Vec<Device>, text: &str) -> Result<Device, ClientError> {
    let named =
        |device: &&Device| device.entry.name.as_ref().is_some_and(|name| name.as_str() == text);
    let begins = text.to_ascii_lowercase();
    let with_id =
        |device: &&Device| !text.is_empty() && device.entry.device.to_string().starts_with(&begins);
    let mut found: Vec<&Device> = devices.iter().filter(named).collect();
    if found.is_empty() {
        found = devices.iter().filter(with_id).collect();
    }
    match found[..] {
        [device] => Ok(device.clone()),
        [] => Err(ClientError::BadArgument(format!(
            "none of your devices is called {text:?} or has an id that begins with it; devices lists them"
        ))),
        _ => {
            let ids: Vec<String> =
                found.iter().map(|device| short_id(device.entry.device)).collect();
            Err(ClientError::BadArgument(format!(
                "{text:?} matches several of your devices: {}; give more of the id",
                ids.join(", ")
            )))
        }
    }
}

/// The beginning of a device's id, for users.
pub(crate) fn short_id(device: DeviceId) -> String {
    let mut text = device.to_string();
    text.truncate(SHORT_ID_LEN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_meant_by_its_name_or_by_the_beginning_of_its_id() {
        let device = |byte: u8, name: Option<&str>| Device {
            entry: DeviceEntry {
                device: DeviceId::from_bytes([byte; 32]),
                name: name.map(|name| name.parse().unwrap()),
                stays_since: None,
                online: true,
                address: None,
                seen_ms: 0,
            },
            is_this: false,
        };
        let devices = || {
            vec![
                device(0xab, Some("laptop")),
                device(0xac, Some("laptop")),
                device(0x12, Some("abab")),
                device(0x13, None),
            ]
        };
        let found = |text: &str| find(devices(), text).map(|device| device.entry.device);
        assert_eq!(found("ABABA").unwrap(), DeviceId::from_bytes([0xab; 32]));
        assert_eq!(found("abab").unwrap(), DeviceId::from_bytes([0x12; 32]), "a name goes first");
        assert_eq!(found("13").unwrap(), DeviceId::from_bytes([0x13; 32]));
        let several = found("laptop").unwrap_err().to_string();
        assert!(several.contains("abababababab, acacacacacac"), "{several}");
        for none in ["", "phone", "ff"] {
            assert!(found(none).unwrap_err().to_string().contains("devices lists them"), "{none}");
        }
    }
}
