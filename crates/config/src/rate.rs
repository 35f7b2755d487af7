//! The rate of publishing.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The rate of publishing: `"100/s"`, or `"max"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// Events a second, evenly spread.
    PerSecond(NonZeroU32),
    /// As fast as publishes are acknowledged.
    Max,
}

impl Rate {
    /// Returns the events a second; `None` for [`Rate::Max`].
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::PerSecond(number) => Some(f64::from(number.get())),
            Self::Max => None,
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// The error continues the sentence that begins with the key.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.strip_suffix("/s")
            .and_then(|number| number.trim().parse().ok())
            .map(Self::PerSecond)
            .ok_or_else(|| format!("must be a rate such as \"100/s\", or \"max\", is \"{text}\""))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(number) => write!(f, "{number}/s"),
            Self::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_what_it_shows() {
        for text in ["100/s", "1/s", "max"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "0/s", "100", "-1/s", "1.5/s", "100/m", "Max"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
