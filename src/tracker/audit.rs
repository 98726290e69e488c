//! What the audit keeps of a change: a line of text beside the request's row.
//!
//! **Invariant:** a note holds no password and no hash of one. Ids stand for users, groups and
//! files; who reads the audit looks their names up.

use std::net::IpAddr;

use crate::types::{Change, DeviceId, Order};

/// Describes a change, and from where it was asked.
pub(crate) fn note_of(change: &Change, from: Option<(IpAddr, DeviceId)>) -> String {
    let what = what(change);
    match from {
        Some((address, device)) => {
            format!("{what}; from {address} device {}", &device.to_string()[..16])
        }
        None => format!("{what}; by the operator"),
    }
}

/// Describes what the operator orders. What is deleted has no name any more when the audit is read,
/// so the note names it.
pub(crate) fn note_of_order(order: &Order, name: Option<&str>) -> String {
    let what = what_is_ordered(order);
    match name {
        Some(name) => format!("{what} {name}; by the operator"),
        None => format!("{what}; by the operator"),
    }
}

fn what(change: &Change) -> String {
    match change {
        Change::CreateUser { name, .. } => format!("create_user {name}"),
        Change::ChangePassword { .. } => "change_password".to_owned(),
        Change::CreateGroup { name } => format!("create_group {name}"),
        Change::JoinGroup { group } => format!("join_group group:{group}"),
        Change::LeaveGroup { group } => format!("leave_group group:{group}"),
        Change::AcceptRequest { group, user } => {
            format!("accept_request group:{group} user:{user}")
        }
        Change::RejectRequest { group, user } => {
            format!("reject_request group:{group} user:{user}")
        }
        Change::RemoveMember { group, user } => format!("remove_member group:{group} user:{user}"),
        Change::TransferGroup { group, user } => {
            format!("transfer_group group:{group} user:{user}")
        }
        Change::ShareFile { group, file } => format!("upload_file group:{group} {}", file.name),
        Change::ReplaceFile { group, file, .. } => {
            format!("replace_file group:{group} {}", file.name)
        }
        Change::StopShare { group, file } => format!("stop_share group:{group} file:{file}"),
        Change::RemoveFile { group, file } => format!("remove_file group:{group} file:{file}"),
        Change::RenameGroup { group, name } => format!("rename_group group:{group} {name}"),
        Change::DeleteGroup { group } => format!("delete_group group:{group}"),
        Change::DeleteAccount => "delete_account".to_owned(),
        Change::StayOnDevice { name, .. } => format!("stay_on_device {name}"),
        Change::ForgetDevice { device } => format!("forget_device {device}"),
        Change::CreateInvitation { group, invitation, uses, days } => {
            format!("invite group:{group} invitation:{invitation} uses {uses} days {days}")
        }
        Change::RevokeInvitation { group, invitation } => {
            format!("revoke_invite group:{group} invitation:{invitation}")
        }
        Change::UseInvitation { group, invitation } => {
            format!("join group:{group} invitation:{invitation}")
        }
        Change::CreateInvitedUser { name, group, invitation, .. } => {
            format!("create_user group:{group} invitation:{invitation} {name}")
        }
        Change::SetGroup { group, settings } => {
            format!("group_settings group:{group} members_invite {}", settings.members_invite)
        }
        Change::Operator(order) => what_is_ordered(order),
    }
}

fn what_is_ordered(order: &Order) -> String {
    match order {
        Order::ResetPassword { user, .. } => format!("reset_password user:{user}"),
        Order::DisableUser { user, is_disabled: true } => format!("disable_user user:{user}"),
        Order::DisableUser { user, is_disabled: false } => format!("enable_user user:{user}"),
        Order::DeleteUser { user } => format!("delete_user user:{user}"),
        Order::DeleteGroup { group } => format!("delete_group group:{group}"),
        Order::RemoveFile { group, file } => format!("remove_file group:{group} file:{file}"),
        Order::ForgetDevice { user, device } => format!("forget_device user:{user} {device}"),
        Order::Set { name, value } => match value {
            Some(value) => format!("set {name} {value}"),
            None => format!("reset {name}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PasswordHash, UserId};

    #[test]
    fn notes_tell_who_asked_and_hold_no_secret() {
        let device = DeviceId::from_bytes([0xab; 32]);
        let hash = PasswordHash::from_phc("$argon2id$secret".into());
        let change = Change::CreateUser { name: "nik".parse().unwrap(), hash: hash.clone() };
        let note = note_of(&change, Some(([10, 0, 0, 1].into(), device)));
        assert_eq!(note, "create_user nik; from 10.0.0.1 device abababababababab");
        let order = Order::ResetPassword { user: UserId::from_bytes([1; 16]), hash };
        let note = note_of(&Change::Operator(order), None);
        assert_eq!(note, "reset_password user:01010101010101010101010101010101; by the operator");
    }
}
