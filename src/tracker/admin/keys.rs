//! Replaces the network's key, step by step.
//!
//! **Invariant:** a private key is read from this machine's files and written to them, and goes
//! nowhere else: what is replicated is two public keys and the old one's signature. The operator
//! carries the new key's file to the other trackers. The old key ends only when every tracker of
//! the network has said that it holds the new one.

use std::path::Path;

use serde_json::json;

use super::asking::{ask, done, set};
use super::command::KeyStep;
use super::{AdminError, Line, Sink};
use crate::directory::{KEY_ENDED, KEY_ROTATION, Settings};
use crate::tracker::core::Input;
use crate::tracker::shared::Shared;
use crate::trust::{KeyPair, NetworkPublicKey};
use crate::types::{KeyRotation, RotationStage};

/// Carries one step out.
///
/// # Errors
/// It is not its turn, a key is missing, or the directory's reason.
///
/// # Blocking
/// For the disk, and until the change is safe.
pub(super) fn rotate(shared: &Shared, step: KeyStep, out: Sink<'_>) -> Result<(), AdminError> {
    match step {
        KeyStep::Show => show(shared, out),
        KeyStep::Make => make(shared, out),
        KeyStep::Begin => begin(shared, out),
        KeyStep::Cancel => {
            let rotation = begun(shared)?;
            set(shared, KEY_ROTATION, Some(sign(shared, &rotation, RotationStage::Cancelled)?))?;
            if settings(shared)?.ended.is_some_and(|ended| ended.is_same_change(&rotation)) {
                return Err(failed(
                    "another tracker has ended the old key meanwhile; that stands".to_owned(),
                ));
            }
            let (old, new) = (rotation.old.fingerprint(), rotation.new.fingerprint());
            let text = format!(
                "the network's key stays {old}; {new} counts no more. Remove {} on every tracker",
                next_file(shared)?.display()
            );
            done(
                out,
                text,
                json!({ "stage": "cancelled", "network": old.to_string(), "void": new.to_string() }),
            )
        }
        KeyStep::End => end(shared, out),
    }
}

/// Shows how far it is; the file of the new key is looked for again.
fn show(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    let looked = shared.keys.look_at_next();
    shared.core.send(Input::LookAtKeys);
    let settings = settings(shared)?;
    let ring = shared.keys.ring();
    let network = ring.fingerprint().to_string();
    out(Line::new(format!("network {network}"), json!({ "network": network })))?;
    let next = match (shared.keys.next_file(), looked) {
        (None, _) => "this tracker was started without a file for it".to_owned(),
        (Some(file), Ok(Some(key))) => format!("{} in {}", key.fingerprint(), file.display()),
        (Some(file), Ok(None)) => format!("none in {}", file.display()),
        (Some(_), Err(error)) => error.to_string(),
    };
    out(Line::new(format!("next key {next}"), json!({ "next_key": next })))?;
    let Some(rotation) = ring.rotation() else {
        return Ok(out(Line::new("no key takes its place", json!({ "stage": null })))?);
    };
    let (old, new) =
        (rotation.old.fingerprint().to_string(), rotation.new.fingerprint().to_string());
    let word = rotation.stage.as_str();
    let text = format!("{new} in the place of {old}: {word}");
    out(Line::new(text, json!({ "stage": word, "old": old, "new": new })))?;
    if rotation.stage == RotationStage::Begun {
        for (number, has_it) in holders(shared, &settings, &rotation) {
            let word =
                if has_it { "holds the new key" } else { "has not said that it holds the new key" };
            out(Line::new(
                format!("tracker {number} {word}"),
                json!({ "tracker": number, "holds_new_key": has_it }),
            ))?;
        }
    }
    Ok(())
}

fn make(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    let file = next_file(shared)?;
    if let Some(rotation) =
        shared.keys.ring().rotation().filter(|rotation| rotation.stage == RotationStage::Begun)
    {
        let new = rotation.new.fingerprint();
        return Err(failed(format!(
            "the key {new} is taking the network's place; `rotate_key cancel` ends that"
        )));
    }
    let (key, is_made) = KeyPair::load_or_make(file).map_err(|error| failed(error.to_string()))?;
    let name = key.fingerprint();
    if key.public() == shared.keys.ring().shown().public() {
        return Err(failed(format!(
            "{} holds the key that is in use: move it to its place first",
            file.display()
        )));
    }
    let word = if is_made { "is" } else { "was already" };
    let text = format!(
        "the key {name} {word} in {0}. Copy it beside network.key on the machine of every other tracker, under that name (scp \
         -p), then say rotate_key begin",
        file.display()
    );
    done(
        out,
        text,
        json!({ "new": name.to_string(), "file": file.display().to_string(), "made": is_made }),
    )
}

fn begin(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    let file = next_file(shared)?;
    let ring = shared.keys.ring();
    if let Some(rotation) =
        ring.rotation().filter(|rotation| rotation.stage == RotationStage::Begun)
    {
        let new = rotation.new.fingerprint();
        return Err(failed(format!(
            "the key {new} is taking the network's place already; `rotate_key` shows how far it is"
        )));
    }
    let next = shared.keys.look_at_next().map_err(|error| failed(error.to_string()))?;
    let Some(next) = next else {
        return Err(failed(format!(
            "there is no new key in {}: `rotate_key make` makes one",
            file.display()
        )));
    };
    if next == ring.shown().network() {
        let why = format!(
            "{} holds the key that is in use: move it to its place, and `rotate_key make` another",
            file.display()
        );
        return Err(failed(why));
    }
    let rotation = ring.shown().begin_rotation(next);
    set(shared, KEY_ROTATION, Some(rotation.to_string()))?;
    let (old, new) =
        (rotation.old.fingerprint().to_string(), rotation.new.fingerprint().to_string());
    let text = format!(
        "{new} takes the place of {old}: both count from now on. `rotate_key` shows which trackers hold it. When all do, and the \
         clients have come by, say rotate_key end --yes"
    );
    done(out, text, json!({ "stage": "begun", "old": old, "new": new }))
}

fn end(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    let rotation = begun(shared)?;
    let file = next_file(shared)?.display().to_string();
    let settings = settings(shared)?;
    let missing: Vec<String> = holders(shared, &settings, &rotation)
        .into_iter()
        .filter(|(_, has_it)| !has_it)
        .map(|(number, _)| number.to_string())
        .collect();
    if !missing.is_empty() {
        return Err(failed(format!(
            "the new key is not on the trackers {}: copy its file there, beside network.key as here {file}, and say rotate_key \
             there; or remove_tracker those that are lost",
            missing.join(", ")
        )));
    }
    set(shared, KEY_ENDED, Some(sign(shared, &rotation, RotationStage::Ended)?))?;
    let (old, new) =
        (rotation.old.fingerprint().to_string(), rotation.new.fingerprint().to_string());
    let text = format!(
        "the network's key is {new} now, and {old} counts no more. On every tracker, before its next start:\n\
         1. mv {file} {}\n\
         2. write into tracker_info.txt: network {new}\n\
         Hand that file out: clients that have not come by since rotate_key begin need it",
        file.trim_end_matches(".next")
    );
    done(out, text, json!({ "stage": "ended", "network": new, "void": old }))
}

/// The rotation that is under way.
fn begun(shared: &Shared) -> Result<KeyRotation, AdminError> {
    let rotation =
        shared.keys.ring().rotation().filter(|rotation| rotation.stage == RotationStage::Begun);
    rotation.ok_or_else(|| {
        failed("the network's key is not being replaced: `rotate_key begin` begins that".to_owned())
    })
}

/// The next stage of that rotation, signed with the old key, as text.
fn sign(
    shared: &Shared,
    rotation: &KeyRotation,
    stage: RotationStage,
) -> Result<String, AdminError> {
    let ring = shared.keys.ring();
    let (shown, old) = (ring.shown(), NetworkPublicKey::from(rotation.old));
    if shown.network() != old {
        let name = old.fingerprint();
        return Err(failed(format!(
            "this tracker was started without the key {name}, which has to sign that: say it at another"
        )));
    }
    Ok(shown.sign_rotation(stage, rotation.new.into()).to_string())
}

/// Every tracker of the network, and whether it has said that it holds the new key.
fn holders(shared: &Shared, settings: &Settings, rotation: &KeyRotation) -> Vec<(u32, bool)> {
    let new = rotation.new.fingerprint().to_string();
    let has_it = |number: &u32| settings.key_holders.get(number) == Some(&new);
    shared.trackers.lock().keys().map(|number| (*number, has_it(number))).collect()
}

fn settings(shared: &Shared) -> Result<Settings, AdminError> {
    ask(shared, |view| view.directory().settings())
}

fn next_file(shared: &Shared) -> Result<&Path, AdminError> {
    shared.keys.next_file().ok_or_else(|| {
        failed("this tracker was started without a file for the network's key".to_owned())
    })
}

fn failed(why: String) -> AdminError {
    AdminError::Failed(why)
}
