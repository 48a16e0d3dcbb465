use crate::Error;
use std::{fmt, str::FromStr};

/// The address of a place where a fleet meets, such as `folder:/mnt/fleet` or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    rest: String,
}

/// The kinds of places, each with what stands behind its name.
const SCHEMES: [(&str, &str); 5] = [("folder", ":"), ("s3", "://"), ("gs", "://"), ("az", "://"), ("nats", "://")];

impl Address {
    /// Returns the kind of the place.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Returns what follows the kind: a path, a bucket with a prefix, or a server with a name. It may have secrets in it.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// Returns an error of the place.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        Error::Fleet { place: self.to_string(), message: message.to_string() }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parted = SCHEMES.iter().find_map(|(scheme, mark)| {
            Some((*scheme, text.strip_prefix(scheme)?.strip_prefix(mark)?)).filter(|(_, rest)| !rest.is_empty())
        });
        let (scheme, rest) = parted.ok_or(
            "a place is folder:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or nats://HOST:PORT/NAME",
        )?;
        Ok(Self { scheme, rest: rest.into() })
    }
}

impl fmt::Display for Address {
    /// Writes the address without a name and a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = SCHEMES.iter().find(|(scheme, _)| *scheme == self.scheme).map_or("", |(_, mark)| mark);
        let host = self.rest.split('/').next().unwrap_or_default();
        let secret = if self.scheme == "folder" { None } else { host.rfind('@') };
        match secret {
            None => write!(f, "{}{mark}{}", self.scheme, self.rest),
            Some(end) => write!(f, "{}{mark}..@{}", self.scheme, &self.rest[end + 1..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_an_address_are_not_shown() {
        let shown = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(shown("nats://me:pa@ss@host:4222/run"), Ok("nats://..@host:4222/run".into()));
        for whole in ["folder:/mnt/a@b", "folder:../here", "s3://bucket/of/us", "nats://localhost"] {
            assert_eq!(shown(whole), Ok(whole.into()));
        }
        for none in ["", "folder:", "s3:/bucket", "ftp://host/", "/mnt/fleet"] {
            assert!(shown(none).unwrap_err().starts_with("a place is folder:PATH"), "{none}");
        }
    }
}
