//! The number of an order for people: `ORD-` and its id in Crockford's base 32, with a check symbol.

/// The check symbols of Crockford's base 32, by the remainder of a number modulo 37.
const CHECK_SYMBOLS: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
const PREFIX: &str = "ORD-";
/// The symbols of an id, without the check symbol.
const SYMBOLS: usize = 11;

/// Returns the number of the order with this id: `ORD-6FT9-YK4W-8C9J`.
pub fn format(order_id: i64) -> String {
    let number = u64::try_from(order_id).unwrap_or_default();
    let mut symbols = format!("{:0>SYMBOLS$}", crockford::encode(number));
    symbols.push(check_symbol(number));
    let groups: Vec<&str> =
        symbols.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{PREFIX}{}", groups.join("-"))
}

/// Returns the id that an order number stands for; `None` if the text is none, or was mistyped. Letters may be small, O
/// stands for 0, I and L stand for 1, and hyphens are ignored.
pub fn parse(text: &str) -> Option<i64> {
    let prefix = text.get(..PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let symbols = text[PREFIX.len()..].replace('-', "").to_ascii_uppercase();
    let (digits, check) = symbols.split_at_checked(SYMBOLS)?;
    let number = crockford::decode(digits).ok()?;
    let check = check.replace('O', "0").replace(['I', 'L'], "1");
    let is_whole = check.len() == 1 && check.starts_with(check_symbol(number));
    is_whole.then(|| i64::try_from(number).ok()).flatten()
}

/// Returns whether the order number of this id consists of letters and digits only.
pub fn is_plain(order_id: i64) -> bool {
    u64::try_from(order_id).is_ok_and(|number| check_symbol(number).is_ascii_alphanumeric())
}

fn check_symbol(number: u64) -> char {
    let remainder = usize::try_from(number % 37).unwrap_or_default();
    char::from(CHECK_SYMBOLS[remainder])
}
