//! A number of seconds, as commands and options take it.

use std::time::Duration;

use crate::client::api::ApiError;

/// The longest time that can be asked for: a year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// Reads a number of seconds, perhaps with a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, ApiError> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(ApiError::bad_argument(format!(
            "{text:?} is not a number of seconds; give one, as 2.5"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_plain_numbers() {
        assert_eq!(parse_seconds("2.5").unwrap(), Duration::from_millis(2500));
        assert_eq!(parse_seconds("0").unwrap(), Duration::ZERO);
        for bad in ["-1", "x", "", "inf", "NaN", "1e30"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
