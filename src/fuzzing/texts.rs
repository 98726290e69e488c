//! Everything that is parsed out of a text: names, ids, `tracker_info.txt`, command lines.

use std::path::{Component, Path};
use std::str::FromStr;

use super::Input;
use crate::client::shell::escape;
use crate::types::invitation_link::{InvitationLink, sealed};
use crate::types::{
    DeviceId, FileName, Fingerprint, GroupName, InfoHash, Label, Sha1Digest, TrackerAddress,
    TrackerInfo, UserId, UserName, is_safe, limits,
};

/// Names, labels and ids. The first byte chooses which, the others are the text.
pub fn names(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(9);
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    match kind {
        0 => check_name::<UserName>(text, UserName::as_str),
        1 => check_name::<GroupName>(text, GroupName::as_str),
        2 => check_file_name(text),
        3 => check_name::<Label>(text, Label::as_str),
        4 => check_id::<UserId>(text),
        5 => check_id::<DeviceId>(text),
        6 => check_id::<InfoHash>(text),
        7 => check_id::<Sha1Digest>(text),
        _ => check_id::<Fingerprint>(text),
    }
    check_escaped(text);
}

fn check_name<T: FromStr>(text: &str, as_str: impl Fn(&T) -> &str) {
    let Ok(name) = text.parse::<T>() else { return };
    assert_eq!(as_str(&name), text);
    assert!(!text.is_empty() && !text.chars().any(|c| c.is_control() || c == '/' || c == '\\'));
    // The label of somebody who came second is a label, too.
    if text.len() <= limits::FILE_NAME_LEN_MAX {
        let label = Label::new(text, usize::MAX % 1_000_000_000);
        assert_eq!(label.as_str().parse::<Label>().ok(), Some(label));
    }
}

/// A file's name is one component of a path, and stays where it is put.
fn check_file_name(text: &str) {
    check_name::<FileName>(text, FileName::as_str);
    let Ok(name) = text.parse::<FileName>() else { return };
    let mut components = Path::new(name.as_str()).components();
    assert!(
        matches!(components.next(), Some(Component::Normal(component)) if component == name.as_str())
    );
    assert_eq!(components.next(), None);
    assert!(name.as_str().len() <= limits::FILE_NAME_LEN_MAX);
}

fn check_id<T: FromStr + ToString>(text: &str) {
    if let Ok(id) = text.parse::<T>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}

/// What was escaped steers no terminal, and is left as it is the next time.
fn check_escaped(text: &str) {
    let escaped = escape(text);
    assert!(is_safe(&escaped), "{escaped:?}");
    assert_eq!(escape(&escaped), escaped);
}

/// The text of a `tracker_info.txt`.
pub fn tracker_info(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(address) = text.parse::<TrackerAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    let info = match TrackerInfo::parse(text) {
        Ok(info) => info,
        Err(error) => return check_escaped(&error.to_string()),
    };
    assert!((1..=limits::TRACKERS_MAX).contains(&info.count()));
    let lines: String = info.iter().map(|(_, address)| format!("{address}\n")).collect();
    let numbered: String = info
        .iter()
        .map(|(number, address)| format!("{number} {} {}\n", address.host(), address.port()))
        .collect();
    let network = info
        .fingerprint()
        .map(|fingerprint| format!("network {fingerprint}\n"))
        .unwrap_or_default();
    assert_eq!(TrackerInfo::parse(&info.to_string()).as_ref(), Ok(&info));
    for text in [lines + &network, network.clone() + &numbered] {
        let again = TrackerInfo::parse(&text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
        assert_eq!((again.network(), again.fingerprint()), (info.network(), info.fingerprint()));
        assert!(again.iter().eq(info.iter()));
    }
    assert!(info.iter().all(|(number, address)| {
        info.get(number) == Some(address) && address.to_label().as_str() == address.to_string()
    }));
}

/// The link of an invitation: the text itself, or behind an odd byte the contents, to which the
/// checksum is added.
pub fn invitation_links(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let text = match input.bool() {
        true => sealed(input.rest()),
        false => match std::str::from_utf8(input.rest()) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
    };
    match InvitationLink::parse(&text) {
        Ok(link) => {
            assert!(link.to_text().eq_ignore_ascii_case(text.trim()));
            assert_eq!(InvitationLink::parse(&link.to_text()).as_ref(), Ok(&link));
            assert_eq!(link.tracker_info().addresses(), link.trackers);
            let secret = &link.to_text()[64..];
            assert!(!format!("{link:?}").contains(secret));
        }
        Err(error) => check_escaped(&error.to_string()),
    }
}

/// A line at the shell's prompt, or of a script.
pub fn command_lines(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    crate::client::shell::fuzz::command_line(line);
    check_escaped(line);
}
