//! Message attributes: text values by name, as messages carry them and dead letters keep them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A name or a value of an attribute; a static one needs no allocation.
pub type Text = Cow<'static, str>;

/// The attributes of a message, sorted by name. Clones share the texts.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(Arc<[(Text, Text)]>);

impl Attributes {
    /// Returns an empty set of attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Sets an attribute, replacing a previous value.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let set = (name.into(), value.into());
        *self = self.0.iter().cloned().chain([set]).collect();
    }

    /// Returns the number of attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no attributes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns a map of the attributes, as client libraries expect it.
    pub fn to_map(&self) -> HashMap<String, String> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl From<Vec<(Text, Text)>> for Attributes {
    /// Sorts the attributes; of a name given twice, the last value wins.
    fn from(mut all: Vec<(Text, Text)>) -> Self {
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            is_same
        });
        Self(all.into())
    }
}

impl<N: Into<Text>, V: Into<Text>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        Self::from(all.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>())
    }
}

/// Prints the names only: a value may contain anything.
impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_sorted_by_name_and_the_last_value_of_a_name_wins() {
        let mut all = Attributes::from_iter([("b", "1"), ("a", "2"), ("b", "3"), ("", "4"), ("b", "5")]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [("", "4"), ("a", "2"), ("b", "5")]);
        all.insert("a", "6");
        all.insert("aa", String::from("7"));
        assert_eq!(all.iter().collect::<Vec<_>>(), [("", "4"), ("a", "6"), ("aa", "7"), ("b", "5")]);
        assert_eq!((all.get("aa"), all.get("c"), all.len()), (Some("7"), None, 4));
        assert_eq!(all, all.to_map().into_iter().collect());
    }

    #[test]
    fn a_copy_shares_the_texts_until_one_is_set() {
        let first = Attributes::from_iter([("a", String::from("1"))]);
        let mut second = first.clone();
        assert_eq!(first.get("a").map(str::as_ptr), second.get("a").map(str::as_ptr));
        second.insert("a", "2");
        assert_eq!((first.get("a"), second.get("a")), (Some("1"), Some("2")));
    }

    #[test]
    fn values_are_not_printed() {
        assert_eq!(
            format!("{:?}", Attributes::from_iter([("b", "secret"), ("a", "secret")])),
            "[\"a\", \"b\"]"
        );
    }
}
