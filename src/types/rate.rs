//! A limit of so many bytes a second, as people write it.
//!
//! **Invariant:** a [`Rate`] is never below [`Rate::MIN`]: below it a block of the largest size
//! would take longer than a message may.

use std::fmt;
use std::str::FromStr;

/// Bytes a second that something is limited to.
///
/// It is read from `500K`, `1.5M`, `20MB` or `250000`: letters count in thousands, as everything
/// shown does, and `Ki`, `Mi` and `Gi` in 1024s; `B` and `/s` may follow.
///
/// # Example
/// ```
/// use posse::types::Rate;
///
/// assert_eq!("1.5MB/s".parse::<Rate>()?.get(), 1_500_000);
/// assert_eq!("20 KiB".parse::<Rate>()?.get(), 20_480);
/// assert!("1K".parse::<Rate>().is_err());
/// # Ok::<(), posse::types::RateError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Says why a text or number is no rate to limit anything to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is no number with a unit.
    #[error("{0:?} is no rate; give bytes a second, as 500K, 1.5M or 20MB, or off")]
    NoRate(String),
    /// It is below [`Rate::MIN`].
    #[error(
        "a limit of {0} bytes a second is too low to work with; the least is 10K, and pausing stops a download altogether"
    )]
    TooLow(u64),
}

impl Rate {
    /// The least limit: a block of 512 KiB takes 52 s at it, and a message may take a minute.
    pub const MIN: Self = Self(10_000);
    /// More than any machine moves.
    const MAX: f64 = 1e15;

    /// Takes a number of bytes a second.
    ///
    /// # Errors
    /// [`RateError::TooLow`].
    pub fn new(bytes_per_second: u64) -> Result<Self, RateError> {
        if bytes_per_second < Self::MIN.0 {
            Err(RateError::TooLow(bytes_per_second))
        } else {
            Ok(Self(bytes_per_second))
        }
    }

    /// Bytes a second.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Reads a limit that may be none: `off` and `0`.
    ///
    /// # Errors
    /// [`RateError`] for everything that is neither none nor a rate.
    pub fn parse_limit(text: &str) -> Result<Option<Self>, RateError> {
        match text.trim() {
            none if none.eq_ignore_ascii_case("off") || none == "0" => Ok(None),
            rate => rate.parse().map(Some),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError::NoRate(text.to_owned());
        let text = text.trim();
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = number * factor(unit).ok_or_else(wrong)?;
        if !(0.0..=Self::MAX).contains(&bytes) {
            return Err(wrong());
        }
        Self::new(bytes.round() as u64)
    }
}

/// Bytes in a unit.
fn factor(unit: &str) -> Option<f64> {
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("/s").unwrap_or(&unit);
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let (power, binary) = match unit.strip_suffix('i') {
        Some(letter) if !letter.is_empty() => (letter, true),
        _ => (unit, false),
    };
    let power = match power {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        _ => return None,
    };
    Some(if binary { 1024_f64 } else { 1000.0 }.powi(power))
}

/// As it is read again: with the largest letter that loses nothing.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "K")];
        match letters.into_iter().find(|(size, _)| self.0.is_multiple_of(size / 10)) {
            Some((size, letter)) if self.0.is_multiple_of(size) => {
                write!(f, "{}{letter}", self.0 / size)
            }
            Some((size, letter)) => {
                write!(f, "{}.{}{letter}", self.0 / size, self.0 % size / (size / 10))
            }
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Rate>().map(Rate::get);
        for (text, bytes) in [
            ("500K", 500_000),
            ("500k", 500_000),
            ("1.5M", 1_500_000),
            ("20MB", 20_000_000),
            ("20 MB/s", 20_000_000),
            ("1G", 1_000_000_000),
            ("64KiB", 65_536),
            ("64Ki/s", 65_536),
            ("2MiB/s", 2 << 20),
            ("250000", 250_000),
            ("10000B", 10_000),
        ] {
            assert_eq!(read(text), Ok(bytes), "{text}");
        }
        assert_eq!(Rate::parse_limit("off"), Ok(None));
        assert_eq!(Rate::parse_limit("0"), Ok(None));
        assert_eq!(Rate::parse_limit("1M").map(|rate| rate.map(Rate::get)), Ok(Some(1_000_000)));
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for bad in [
            "",
            "fast",
            "-5M",
            "5X",
            "1e9",
            "5MM",
            "5i",
            "1.2.3M",
            "M",
            "5Mbit",
            "999999999999G",
            "on",
            "nan",
            "inf",
            "٣M",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError::NoRate(bad.to_owned())), "{bad}");
        }
        assert_eq!("9K".parse::<Rate>(), Err(RateError::TooLow(9000)));
        assert!("0.5".parse::<Rate>().is_err() && Rate::parse_limit("1").is_err());
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for bytes in [
            10_000,
            12_345,
            65_536,
            100_000,
            1_500_000,
            1_000_000,
            20_000_000,
            1_100_000_000,
            u64::from(u32::MAX),
        ] {
            let rate = Rate::new(bytes).unwrap();
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        assert_eq!(Rate::new(1_500_000).unwrap().to_string(), "1.5M");
        assert_eq!(Rate::new(20_000_000).unwrap().to_string(), "20M");
    }
}
