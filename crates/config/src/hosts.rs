//! Rules for the names of hosts and of topics; an error continues the sentence that begins with the key.

/// Accepts `host:port`, with an IPv6 address in brackets and without a scheme.
pub fn host_and_port(text: &str) -> Result<String, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!("must be host:port without \"{scheme}://\", try \"{rest}\""));
    }
    let parts = text.rsplit_once(':').filter(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
    parts.map(|_| text.to_owned()).ok_or_else(|| format!("must be host:port, is \"{text}\""))
}

/// Accepts `host` or `host:port`.
pub fn host(text: &str) -> Result<String, String> {
    if is_host(text) { Ok(text.to_owned()) } else { host_and_port(text) }
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)),
    }
}

/// Accepts the short name of a topic or subscription, by the rules of Pub/Sub.
pub fn resource(text: &str) -> Result<String, String> {
    let mut characters = text.chars();
    let starts_with_letter = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let allowed = characters.all(|c| c.is_ascii_alphanumeric() || "-_.~+%".contains(c));
    if !(3..=255).contains(&text.len()) {
        return Err(format!("must have 3 to 255 characters, is \"{text}\""));
    }
    if !starts_with_letter {
        return Err(format!("must start with a letter, is \"{text}\""));
    }
    if !allowed {
        return Err(format!("may contain only letters, digits and - _ . ~ + %, is \"{text}\""));
    }
    if text.to_ascii_lowercase().starts_with("goog") {
        return Err(format!("must not start with goog, is \"{text}\""));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["localhost:8085", "127.0.0.1:1", "[::1]:8085", "pubsub-emulator:8085"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in ["", "localhost", ":8085", "localhost:", "localhost:99999", "::1:8085", "a b:1", "h:1/"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
        assert!(host("cassandra-0.cassandra").is_ok());
        assert!(host("10.0.0.1:9042").is_ok());
        assert!(host("10.0.0.1,10.0.0.2").is_err());
    }

    #[test]
    fn a_scheme_is_named_with_the_way_out() {
        let why = host_and_port("http://localhost:8085").unwrap_err();
        assert_eq!(why, "must be host:port without \"http://\", try \"localhost:8085\"");
    }

    #[test]
    fn resources_are_named_as_pubsub_allows() {
        for good in ["abc", "orders_data-sub", "a.b~c+d%e"] {
            assert!(resource(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in ["ab", "1abc", "goog-x", "Google", "a/b/c", "a b c", "übel", "aüb", &long] {
            assert!(resource(bad).is_err(), "{bad}");
        }
    }
}
