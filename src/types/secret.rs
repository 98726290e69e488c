//! Passwords and their hashes: they print as `[redacted]`, and are wiped when dropped.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::NameError;
use super::limits::PASSWORD_LEN_MAX;

/// A password as typed: 1-1024 bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Takes a password as typed.
    ///
    /// # Errors
    /// An empty password or one over [`PASSWORD_LEN_MAX`] bytes is refused.
    pub fn new(text: String) -> Result<Self, NameError> {
        // From here on it is wiped, also when it is none.
        let password = Self(text);
        match password.0.len() {
            0 => Err(NameError::Empty { what: "password" }),
            len if len > PASSWORD_LEN_MAX => {
                Err(NameError::TooLong { what: "password", len, max: PASSWORD_LEN_MAX })
            }
            _ => Ok(password),
        }
    }

    /// Shows the password to the code that hashes or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A password hash in PHC string form (`$argon2id$...`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string made by the hasher or read from a store; it is parsed where it is
    /// verified.
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    /// Returns the PHC string.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let password = Password::new("hunter2".into()).unwrap();
        assert_eq!(format!("{password:?}"), "[redacted]");
        assert_eq!(format!("{:?}", PasswordHash::from_phc("$argon2id$x".into())), "[redacted]");
    }

    #[test]
    fn secrets_are_wiped_when_dropped() {
        fn is_wiped<T: ZeroizeOnDrop>() {}
        is_wiped::<Password>();
        is_wiped::<PasswordHash>();
        let mut password = Password::new("hunter2".into()).unwrap();
        password.zeroize();
        assert_eq!(password.expose(), "");
    }

    #[test]
    fn password_lengths_are_bounded() {
        assert!(Password::new(String::new()).is_err());
        assert!(Password::new("x".repeat(1024)).is_ok());
        assert!(Password::new("x".repeat(1025)).is_err());
    }
}
