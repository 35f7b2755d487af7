//! Amounts in minor units, such as cents. No amount ever passes through a binary fraction.

use std::fmt;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

/// The largest amount, in minor units.
pub const MAX_MINOR: i64 = 1_000_000_000_000;

/// A currency of ISO 4217 that has a minor unit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    currency: iso_currency::Currency,
    exponent: u32,
}

/// The error of a text that is not an amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AmountError {
    /// It is not a decimal number of at most 28 digits.
    NotDecimal,
    /// It is negative.
    Negative,
    /// It has more decimals than the currency.
    TooManyDecimals,
    /// It is above [`MAX_MINOR`].
    TooLarge,
}

impl Currency {
    /// Returns the currency with this code of three capital letters; `None` if there is none, or if it has no minor unit,
    /// such as gold.
    pub fn try_new(code: &str) -> Option<Self> {
        let currency = iso_currency::Currency::from_code(code)?;
        let exponent = u32::from(currency.exponent()?);
        Some(Self { currency, exponent })
    }

    /// Returns the code, such as `USD`.
    pub fn code(self) -> &'static str {
        self.currency.code()
    }

    /// Returns the amount that a decimal text is, in minor units: `12.5` USD is 1250.
    ///
    /// # Errors
    /// Negative amounts, amounts above [`MAX_MINOR`], and decimals that the currency does not have.
    pub fn parse(self, text: &str) -> Result<i64, AmountError> {
        let is_scientific = text.contains(['e', 'E']);
        let decimal =
            if is_scientific { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        let decimal = decimal.map_err(|_| AmountError::NotDecimal)?.normalize();
        if decimal.is_sign_negative() && !decimal.is_zero() {
            return Err(AmountError::Negative);
        }
        if decimal.scale() > self.exponent {
            return Err(AmountError::TooManyDecimals);
        }
        let factor = 10_i128.pow(self.exponent - decimal.scale());
        let minor = decimal.mantissa().checked_mul(factor).ok_or(AmountError::TooLarge)?;
        i64::try_from(minor).ok().filter(|minor| *minor <= MAX_MINOR).ok_or(AmountError::TooLarge)
    }

    /// Returns an amount in minor units as a decimal text with all decimals of the currency: 1250 USD is `12.50`.
    pub fn format(self, minor: i64) -> String {
        Decimal::new(minor, self.exponent).to_string()
    }

    /// Returns an amount in minor units as a JSON number with all decimals of the currency.
    pub fn to_json(self, minor: i64) -> Box<RawValue> {
        RawValue::from_string(self.format(minor)).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }

    /// Returns an amount in minor units as the nearest binary fraction, for the price of the fact table.
    pub fn to_f64(self, minor: i64) -> f64 {
        self.format(minor).parse().unwrap_or(f64::MAX)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for AmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDecimal => "is not a decimal number of at most 28 digits",
            Self::Negative => "must not be negative",
            Self::TooManyDecimals => "has more decimals than the currency",
            Self::TooLarge => "is too large",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::try_new(code).expect("a currency")
    }

    #[test]
    fn an_amount_has_the_decimals_of_its_currency() {
        for (code, text, minor, shown) in [
            ("USD", "100", 10_000, "100.00"),
            ("USD", "100.50", 10_050, "100.50"),
            ("USD", "0.1", 10, "0.10"),
            ("USD", "1.500", 150, "1.50"),
            ("USD", "1e2", 10_000, "100.00"),
            ("USD", "-0", 0, "0.00"),
            ("JPY", "500", 500, "500"),
            ("KWD", "1.234", 1_234, "1.234"),
        ] {
            assert_eq!(currency(code).parse(text), Ok(minor), "{text} {code}");
            assert_eq!(currency(code).format(minor), shown);
        }
        for (code, text, error) in [
            ("USD", "0.001", AmountError::TooManyDecimals),
            ("JPY", "0.5", AmountError::TooManyDecimals),
            ("USD", "-1", AmountError::Negative),
            ("USD", "1e20", AmountError::TooLarge),
            ("USD", "10000000000.01", AmountError::TooLarge),
            ("USD", "", AmountError::NotDecimal),
            ("USD", "NaN", AmountError::NotDecimal),
            ("USD", "1e400", AmountError::NotDecimal),
        ] {
            assert_eq!(currency(code).parse(text), Err(error), "{text} {code}");
        }
        for unknown in ["", "usd", "XXX", "XAU", "US"] {
            assert!(Currency::try_new(unknown).is_none(), "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_reads_back_from_its_text(minor in 0..=MAX_MINOR, code in prop::sample::select(vec!["USD", "JPY", "KWD", "EUR"])) {
            let currency = currency(code);
            prop_assert_eq!(currency.parse(&currency.format(minor)), Ok(minor));
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in "\\PC{0,40}") {
            let _ = currency("USD").parse(&text);
        }
    }
}
