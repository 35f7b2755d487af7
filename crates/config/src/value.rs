//! A setting before its meaning is known.

/// A value as TOML has it, of the types settings have.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<String>),
}

impl Value {
    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list of text",
        }
    }

    /// What a value in place of this default must be.
    pub(super) fn expectation(&self) -> String {
        match self {
            Self::Text(example) if !example.is_empty() => format!("text such as \"{example}\""),
            Self::Text(_) | Self::Integer(_) | Self::Float(_) | Self::Boolean(_) | Self::List(_) => {
                self.kind().to_owned()
            }
        }
    }

    /// A file's value as the type of this default; `None` where it is of another.
    pub(super) fn conform(&self, found: Self) -> Option<Self> {
        match (self, found) {
            #[expect(clippy::cast_precision_loss, reason = "a share has few digits")]
            (Self::Float(_), Self::Integer(number)) => Some(Self::Float(number as f64)),
            (expected, found) => {
                (std::mem::discriminant(expected) == std::mem::discriminant(&found)).then_some(found)
            }
        }
    }

    /// A variable's or flag's text as the type of this default: text stays text, lists have commas.
    pub(super) fn read(&self, text: &str) -> Option<Self> {
        match self {
            Self::Text(_) => Some(Self::Text(text.to_owned())),
            Self::Integer(_) => text.trim().parse().ok().map(Self::Integer),
            Self::Float(_) => text.trim().parse().ok().map(Self::Float),
            Self::Boolean(_) => text.trim().parse().ok().map(Self::Boolean),
            Self::List(_) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Self::List(parts.map(str::to_owned).collect()))
            }
        }
    }

    /// Spelt as TOML.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => toml::Value::Float(*number).to_string(),
            Self::Boolean(truth) => truth.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_read_as_a_number() {
        assert!(Value::Text(String::new()).read("123") == Some(Value::Text("123".into())));
        assert!(Value::Text(String::new()).read(" true ") == Some(Value::Text(" true ".into())));
    }

    #[test]
    fn lists_have_commas() {
        let read = Value::List(vec![]).read("a:1, b:2,");
        assert!(read == Some(Value::List(vec!["a:1".into(), "b:2".into()])));
    }

    #[test]
    fn values_of_another_type_do_not_conform() {
        assert!(Value::Integer(4).conform(Value::Text("4".into())).is_none());
        assert!(Value::Text(String::new()).conform(Value::Integer(4)).is_none());
        assert!(Value::Float(0.1).conform(Value::Integer(1)) == Some(Value::Float(1.0)));
    }
}
