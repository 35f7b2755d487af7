//! The commands of the broker, one a line.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tonic::Code;

/// A command to the broker.
///
/// | line | effect |
/// |---|---|
/// | `streams end` | open streams end without an error |
/// | `streams error:<code>` | open streams end with this status |
/// | `connections goaway` | open connections are asked to close |
/// | `connections reset` | open connections are reset |
/// | `connections half_open` | open connections stay up and carry no more bytes |
/// | `queue reverse` | undelivered messages are delivered in the reverse order |
/// | `<point> <effect> [<extent>]` | a rule: the next times that this point is reached, the effect takes place |
/// | `clear` | removes all rules |
/// | `report` | prints the counters |
/// | `archive <file>` | writes each message that is published from now on to a file, as a line of JSON |
///
/// Points are `connect`, `open_stream`, `deliver`, `publish`, `acknowledge`, `modify_ack_deadline` and
/// `admin`. An extent is a number of times (`3`), a time (`1500ms`), or `always`; once if it is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Ends the open streams, without an error if the code is `Ok`.
    EndStreams(Code),
    /// Acts on the open connections.
    Connections(ConnectionFault),
    /// Reverses the order of the undelivered messages.
    ReverseQueue,
    /// Adds a rule.
    Rule(Point, Effect, Extent),
    /// Removes all rules.
    Clear,
    /// Asks for the counters.
    Report,
    /// Writes the messages that are published from now on to this file.
    Archive(PathBuf),
}

/// A fault of open connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionFault {
    /// GOAWAY: running calls go on, new ones need a new connection.
    GoAway,
    /// The connection is reset.
    Reset,
    /// Bytes vanish in both directions, and the connection stays up. The broker notices half a second later.
    HalfOpen,
}

/// A point in the work of the broker at which a rule takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// A client connects.
    Connect,
    /// A client opens a stream.
    OpenStream,
    /// A message is sent on a stream.
    Deliver,
    /// A client publishes.
    Publish,
    /// A client acknowledges.
    Acknowledge,
    /// A client extends a lease or nacks.
    ModifyAckDeadline,
    /// A client creates or looks up a topic or a subscription.
    Admin,
}

impl Point {
    /// Returns whether the effect can take place at this point.
    fn offers(self, effect: Effect) -> bool {
        match self {
            Self::Connect => matches!(effect, Effect::Error(_)),
            Self::OpenStream => {
                matches!(effect, Effect::Error(_) | Effect::AfterHeaders(_) | Effect::Never | Effect::Late(_))
            }
            Self::Deliver => effect == Effect::Twice,
            Self::Publish | Self::Acknowledge | Self::ModifyAckDeadline | Self::Admin => {
                !matches!(effect, Effect::AfterHeaders(_) | Effect::Twice)
            }
        }
    }
}

/// The effect of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// `error:<code>`: the call is not applied and fails. At `connect`, the connection is reset.
    Error(Code),
    /// `lost:<code>`: the call is applied, and its answer is this status instead.
    Lost(Code),
    /// `after_headers:<code>`: a stream starts and then ends with this status, without an error if it is `ok`.
    AfterHeaders(Code),
    /// `ignored`: the call is not applied and succeeds.
    Ignored,
    /// `never`: the call is not applied and never answered.
    Never,
    /// `late:<time>`: the call is applied after this time.
    Late(Duration),
    /// `twice`: the message is delivered a second time at once, under another lease.
    Twice,
}

/// The extent of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// So many times.
    Times(u32),
    /// For this time.
    For(Duration),
    /// Until it is cleared.
    Always,
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        if let Some(path) = line.strip_prefix("archive ") {
            return Ok(Self::Archive(path.into()));
        }
        let words: Vec<_> = line.split_whitespace().collect();
        Ok(match words[..] {
            ["clear"] => Self::Clear,
            ["report"] => Self::Report,
            ["queue", "reverse"] => Self::ReverseQueue,
            ["streams", "end"] => Self::EndStreams(Code::Ok),
            ["streams", end] => match end.split_once(':') {
                Some(("error", name)) => Self::EndStreams(code(name)?),
                _ => return Err(unknown("end of streams", end)),
            },
            ["connections", fault] => Self::Connections(match fault {
                "goaway" => ConnectionFault::GoAway,
                "reset" => ConnectionFault::Reset,
                "half_open" => ConnectionFault::HalfOpen,
                _ => return Err(unknown("connection fault", fault)),
            }),
            [at, effect] => rule(at, effect, Extent::Times(1))?,
            [at, effect, extent] => rule(at, effect, self::extent(extent)?)?,
            _ => return Err(unknown("command", line)),
        })
    }
}

fn unknown(what: &str, text: impl Display) -> String {
    format!("unknown {what} \"{text}\"; the documentation of Command lists them")
}

fn rule(at: &str, effect: &str, extent: Extent) -> Result<Command, String> {
    let (point, parsed) = (point(at)?, self::effect(effect)?);
    if !point.offers(parsed) {
        return Err(format!("\"{effect}\" cannot take place at {at}"));
    }
    Ok(Command::Rule(point, parsed, extent))
}

fn point(text: &str) -> Result<Point, String> {
    Ok(match text {
        "connect" => Point::Connect,
        "open_stream" => Point::OpenStream,
        "deliver" => Point::Deliver,
        "publish" => Point::Publish,
        "acknowledge" => Point::Acknowledge,
        "modify_ack_deadline" => Point::ModifyAckDeadline,
        "admin" => Point::Admin,
        _ => return Err(unknown("point", text)),
    })
}

fn effect(text: &str) -> Result<Effect, String> {
    Ok(match text.split_once(':') {
        None if text == "ignored" => Effect::Ignored,
        None if text == "never" => Effect::Never,
        None if text == "twice" => Effect::Twice,
        Some(("error", name)) => Effect::Error(code(name)?),
        Some(("lost", name)) => Effect::Lost(code(name)?),
        Some(("after_headers", name)) => Effect::AfterHeaders(code(name)?),
        Some(("late", time)) => Effect::Late(self::time(time).ok_or_else(|| unknown("time", time))?),
        _ => return Err(unknown("effect", text)),
    })
}

fn extent(text: &str) -> Result<Extent, String> {
    if text == "always" {
        return Ok(Extent::Always);
    }
    let times = text.parse().ok().map(Extent::Times);
    times.or_else(|| time(text).map(Extent::For)).ok_or_else(|| unknown("extent", text))
}

fn time(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

fn code(name: &str) -> Result<Code, String> {
    (0..=16)
        .map(Code::from)
        .find(|code| format!("{code:?}").eq_ignore_ascii_case(&name.replace('_', "")))
        .ok_or_else(|| unknown("status code", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_a_command() {
        let table = [
            ("streams end", Command::EndStreams(Code::Ok)),
            ("streams error:not_found", Command::EndStreams(Code::NotFound)),
            ("connections half_open", Command::Connections(ConnectionFault::HalfOpen)),
            ("queue reverse", Command::ReverseQueue),
            ("clear", Command::Clear),
            ("archive a folder/messages.json", Command::Archive("a folder/messages.json".into())),
            (
                "publish lost:deadline_exceeded",
                Command::Rule(Point::Publish, Effect::Lost(Code::DeadlineExceeded), Extent::Times(1)),
            ),
            (
                "acknowledge late:250ms 3",
                Command::Rule(Point::Acknowledge, Effect::Late(Duration::from_millis(250)), Extent::Times(3)),
            ),
            (
                "open_stream after_headers:unavailable 2s",
                Command::Rule(
                    Point::OpenStream,
                    Effect::AfterHeaders(Code::Unavailable),
                    Extent::For(Duration::from_secs(2)),
                ),
            ),
            ("deliver twice always", Command::Rule(Point::Deliver, Effect::Twice, Extent::Always)),
        ];
        for (line, command) in table {
            assert_eq!(line.parse(), Ok(command), "{line}");
        }
        for line in [
            "",
            "publish",
            "publish error:teapot",
            "publish late:5",
            "fly ignored",
            "streams stop",
            "publish twice",
        ] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
    }
}
