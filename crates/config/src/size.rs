//! Sizes in bytes, written like "64MiB".

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("", 1),
];

/// At least one byte; the error continues a sentence that begins with the key.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .and_then(|(number, factor)| number.trim().parse::<u64>().ok()?.checked_mul(*factor))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("must be a size such as \"64MiB\", or a number of bytes, is \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_none() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1 KB"), Ok(1000));
        assert_eq!(bytes("17B"), Ok(17));
        assert_eq!(bytes("65536"), Ok(65536));
        for bad in ["", "0", "MiB", "-1", "1.5GiB", "64mib", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
