//! Reading JSON bodies: every fault at once, each with its JSON pointer. Numbers are read from their text, so that an
//! amount never passes through a binary fraction.

use std::fmt;
use std::ops::RangeInclusive;

use rust_decimal::Decimal;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::auth::Caller;
use super::problem::{FieldFault, Problem, ProblemCode, repeatable};
use super::sku;
use ecom_shop_domain::money::Currency;

/// The faults of a body so far.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<FieldFault>,
    /// Fields whose text contains a card number.
    card_numbers: Vec<FieldFault>,
}

impl Faults {
    pub(crate) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.faults.push(FieldFault { pointer: pointer.into(), detail: detail.into() });
    }

    /// Returns whether there is no fault so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.card_numbers.is_empty()
    }

    /// Returns an error if there is a fault. Card numbers come first: nothing else of such a body matters.
    pub(crate) fn check(self) -> Result<(), Problem> {
        if self.is_empty() {
            return Ok(());
        }
        let (code, errors) = match self.card_numbers.is_empty() {
            true => (ProblemCode::InvalidRequest, self.faults),
            false => (ProblemCode::CardNumberPresent, self.card_numbers),
        };
        Err(Problem { errors, ..Problem::new(code) })
    }

    /// Notes a text that contains a card number.
    pub(crate) fn screen(&mut self, pointer: &str, text: &str) {
        if !ecom_card_numbers::find(text.as_bytes()).is_empty() {
            let detail = "contains a full card number".to_owned();
            self.card_numbers.push(FieldFault { pointer: pointer.to_owned(), detail });
        }
    }
}

/// The fields of a JSON object that were not read yet.
pub(crate) struct Fields<'b> {
    /// The pointer of the object.
    pointer: String,
    fields: Vec<(String, &'b RawValue)>,
}

/// The fields of an object in their order, duplicates included.
struct Entries<'b>(Vec<(String, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Entries<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}

impl<'b> Fields<'b> {
    /// Reads the object that a body is.
    pub(crate) fn of_body(body: &'b [u8]) -> Result<Self, Problem> {
        let entries: Entries<'b> = serde_json::from_slice(body).map_err(|error| {
            // Its message may repeat a value of the client.
            let detail = format!("the fault is at line {} column {}", error.line(), error.column());
            Problem::detailed(ProblemCode::MalformedJson, detail)
        })?;
        Ok(Self { pointer: String::new(), fields: entries.0 })
    }

    /// Notes the fields that are absent or null and must not be.
    pub(crate) fn require(&self, faults: &mut Faults, names: &[&str]) {
        for name in names {
            if !self.has(name) {
                faults.add(self.pointer_of(name), "is missing");
            }
        }
    }

    /// Returns whether a field is there, is not null and was not read yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, value)| field == name && value.get() != "null")
    }

    fn pointer_of(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"))
    }

    /// Takes a field; `None` if it is absent or null.
    fn take(&mut self, name: &str) -> Option<&'b RawValue> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        let (_, value) = self.fields.remove(at);
        Some(value).filter(|value| value.get() != "null")
    }

    /// Reads a text of 1 to `longest` characters; `None` if it is absent.
    pub(crate) fn text(&mut self, faults: &mut Faults, name: &str, longest: usize) -> Option<String> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        let Ok(text) = serde_json::from_str::<String>(value.get()) else {
            faults.add(pointer, "must be a text");
            return None;
        };
        faults.screen(&pointer, &text);
        if text.is_empty() || text.chars().count() > longest {
            faults.add(pointer, format!("must have 1 to {longest} characters"));
            return None;
        }
        Some(text)
    }

    /// Reads a whole number in a range; `None` if it is absent.
    pub(crate) fn integer(
        &mut self,
        faults: &mut Faults,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        let number = integer(value).filter(|number| range.contains(number));
        if number.is_none() {
            let detail = format!("must be a whole number from {} to {}", range.start(), range.end());
            faults.add(pointer, detail);
        }
        number
    }

    /// Reads an amount of at least `least` minor units; `None` if it is absent.
    pub(crate) fn amount(
        &mut self,
        faults: &mut Faults,
        name: &str,
        currency: Currency,
        least: i64,
    ) -> Option<i64> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        let Some(text) = number(value) else {
            faults.add(pointer, "must be a number");
            return None;
        };
        match currency.parse(text) {
            Ok(minor) if minor >= least => Some(minor),
            Ok(_) => {
                faults.add(pointer, format!("must be at least {}", currency.format(least)));
                None
            }
            Err(error) => {
                faults.add(pointer, error.to_string());
                None
            }
        }
    }

    /// Reads an amount of a currency that is not known yet, as a decimal without superfluous zeros; `None` if it is absent.
    pub(crate) fn decimal(&mut self, faults: &mut Faults, name: &str) -> Option<String> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        let number = number(value).and_then(decimal).map(|number| number.normalize());
        let number = number.filter(|number| *number >= Decimal::ZERO);
        if number.is_none() {
            faults.add(pointer, "must be a decimal number of at most 28 digits, and not negative");
        }
        number.map(|number| number.to_string())
    }

    /// Reads the SKU of a product; `None` if it is absent.
    pub(crate) fn sku(&mut self, faults: &mut Faults) -> Option<String> {
        const NAME: &str = "sku";
        let (pointer, text) = (self.pointer_of(NAME), self.text(faults, NAME, 255)?);
        sku::check(faults, &pointer, &text);
        Some(text)
    }

    /// Reads the customer that a request is about; `None` if it names none and the caller is none.
    pub(crate) fn customer(&mut self, faults: &mut Faults, caller: &Caller) -> Result<Option<i64>, Problem> {
        caller.customer(self.integer(faults, "customer_id", 1..=i64::MAX))
    }

    /// Reads a list of 1 to `most` whole numbers; `None` if it is absent.
    pub(crate) fn integers(&mut self, faults: &mut Faults, name: &str, most: usize) -> Option<Vec<i64>> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        faults.screen(&pointer, value.get());
        let list: Option<Vec<i64>> = serde_json::from_str::<Vec<&RawValue>>(value.get())
            .ok()
            .filter(|list| (1..=most).contains(&list.len()))
            .and_then(|list| list.into_iter().map(integer).collect());
        if list.is_none() {
            faults.add(pointer, format!("must be a list of 1 to {most} whole numbers"));
        }
        list
    }

    /// Reads a list of 1 to `most` objects; `None` if it is absent.
    pub(crate) fn objects(&mut self, faults: &mut Faults, name: &str, most: usize) -> Option<Vec<Self>> {
        let (pointer, value) = (self.pointer_of(name), self.take(name)?);
        let fault = format!("must be a list of 1 to {most} objects");
        let Ok(list) = serde_json::from_str::<Vec<&'b RawValue>>(value.get()) else {
            faults.add(pointer, fault);
            return None;
        };
        if list.is_empty() || list.len() > most {
            faults.add(pointer, fault);
            return None;
        }
        let mut objects = Vec::with_capacity(list.len());
        for (at, value) in list.into_iter().enumerate() {
            let pointer = format!("{pointer}/{at}");
            match serde_json::from_str::<Entries<'b>>(value.get()) {
                Ok(Entries(fields)) => objects.push(Self { pointer, fields }),
                Err(_) => faults.add(pointer, "must be an object"),
            }
        }
        Some(objects)
    }

    /// Reads a currency; USD if it is absent.
    pub(crate) fn currency(&mut self, faults: &mut Faults, name: &str) -> Currency {
        let Some(code) = self.text(faults, name, 255) else { return default_currency() };
        Currency::try_new(&code).unwrap_or_else(|| {
            faults.add(self.pointer_of(name), "must be a currency code of ISO 4217, such as USD");
            default_currency()
        })
    }

    /// Reads the last four digits of a card; `None` if they are absent.
    pub(crate) fn card_last_four(&mut self, faults: &mut Faults) -> Option<String> {
        const NAME: &str = "card_last_four";
        let text = self.text(faults, NAME, 255)?;
        if ecom_domain::payment::CardLastFour::try_new(&text).is_none() {
            faults.add(self.pointer_of(NAME), "must be the last four digits of a card");
            return None;
        }
        Some(text)
    }

    /// Notes a fault of a field.
    pub(crate) fn fault(&self, faults: &mut Faults, name: &str, detail: &str) {
        faults.add(self.pointer_of(name), detail);
    }

    /// Notes the fields that were not read: they are unknown, or given twice.
    pub(crate) fn finish(self, faults: &mut Faults) {
        for (name, value) in &self.fields {
            let pointer = self.pointer_of(repeatable(name));
            faults.screen(&pointer, name);
            faults.screen(&pointer, value.get());
            faults.add(pointer, "is unknown, or given twice");
        }
    }
}

/// Returns the currency of a request that names none.
pub(crate) fn default_currency() -> Currency {
    Currency::try_new("USD").expect("USD is a currency")
}

/// Returns a whole number, also one that is written as 2.0 or 2e0.
fn integer(value: &RawValue) -> Option<i64> {
    let text = number(value)?;
    text.parse().ok().or_else(|| {
        let decimal = decimal(text)?.normalize();
        (decimal.scale() == 0).then(|| i64::try_from(decimal.mantissa()).ok()).flatten()
    })
}

/// Returns the text of a number; `None` if it is something else.
fn number(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|text| text.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

fn decimal(text: &str) -> Option<Decimal> {
    let is_scientific = text.contains(['e', 'E']);
    if is_scientific { Decimal::from_scientific(text).ok() } else { Decimal::from_str_exact(text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Option<String>, Option<i64>, Option<i64>);

    fn read(body: &str) -> Result<Read, Problem> {
        let mut faults = Faults::default();
        let mut fields = Fields::of_body(body.as_bytes())?;
        let currency = fields.currency(&mut faults, "currency");
        let amount = fields.amount(&mut faults, "amount", currency, 1);
        let item = fields.text(&mut faults, "item", 5);
        let quantity = fields.integer(&mut faults, "quantity", 1..=10);
        for mut line in fields.objects(&mut faults, "lines", 2).unwrap_or_default() {
            line.integer(&mut faults, "quantity", 1..=10);
            line.finish(&mut faults);
        }
        fields.finish(&mut faults);
        faults.check().map(|()| (item, quantity, amount))
    }

    fn pointers(body: &str) -> Vec<String> {
        let problem = read(body).unwrap_err();
        problem.errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_body_is_read_as_a_whole_and_numbers_from_their_text() {
        assert_eq!(read("{}"), Ok((None, None, None)));
        let body =
            r#"{"item":"Maus🐭","quantity":2.0,"amount":0.10,"lines":[{"quantity":1e1}],"currency":null}"#;
        assert_eq!(read(body), Ok((Some("Maus🐭".into()), Some(2), Some(10))));
        assert_eq!(read(r#"{"amount":500,"currency":"JPY"}"#), Ok((None, None, Some(500))));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let body = r#"{"item":"","quantity":0,"amount":0.001,"lines":[{"quantity":11},7,{"x/y":1}],"z":1,"item":"a"}"#;
        assert_eq!(
            pointers(body),
            ["/amount", "/item", "/quantity", "/lines"]
                .into_iter()
                .chain(["/z", "/item"])
                .collect::<Vec<_>>()
        );
        let body = r#"{"quantity":"2","amount":"1","lines":[{"quantity":11},{"x/y":1}],"currency":"usd"}"#;
        assert_eq!(
            pointers(body),
            ["/currency", "/amount", "/quantity", "/lines/0/quantity", "/lines/1/x~1y"]
        );
    }

    #[test]
    fn what_is_not_one_object_is_malformed_and_depth_is_no_danger() {
        let deep = format!("{{\"item\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(pointers(&deep), ["/item"]);
        for body in
            ["", "[]", "7", "{", "{}{}", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}"]
        {
            let code = read(body).unwrap_err().code;
            assert!(
                matches!(code, ProblemCode::MalformedJson | ProblemCode::InvalidRequest),
                "{body}: {code:?}"
            );
        }
        assert_eq!(read("[1]").unwrap_err().code, ProblemCode::MalformedJson);
    }

    #[test]
    fn a_card_number_in_any_text_is_found_however_it_is_written_and_never_repeated() {
        for body in [
            r#"{"item":"4111111111111111"}"#,
            r#"{"item":"\u0034111 1111 1111 1111"}"#,
            r#"{"unknown":"4111-1111-1111-1111"}"#,
            r#"{"4111111111111111":1}"#,
        ] {
            let problem = read(body).unwrap_err();
            assert_eq!(problem.code, ProblemCode::CardNumberPresent, "{body}");
            assert!(!format!("{problem:?}").contains("1111"), "{problem:?}");
        }
    }
}
