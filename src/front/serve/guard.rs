//! Who may ask: requests of other sites, of other names of this machine, and of those who do not know the token are
//! refused before anything is done for them.

use super::api::Refusal;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use std::net::{IpAddr, SocketAddr};

/// What requests are held against.
pub struct Guard {
    address: SocketAddr,
    /// Names of this machine that requests may use beside its address.
    names: Vec<String>,
    /// What who is asked over a network must know; `None` if only this machine can ask.
    token: Option<String>,
}

/// The name of the cookie that carries the token.
const COOKIE: &str = "lockstep";

impl Guard {
    /// Returns the guard of a server at an address. Whoever asks over a network needs a token, which is made here.
    pub fn new(address: SocketAddr, names: Vec<String>) -> Self {
        let token = (!address.ip().is_loopback()).then(super::secret);
        Self { address, names, token }
    }

    /// Returns the token, if one is needed.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Checks where a request comes from.
    ///
    /// # Errors
    /// When it names another host, or comes from a page of another site.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let refuse = |text: &str| Err(Refusal::new(StatusCode::FORBIDDEN, text));
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        if !self.is_own(host) || uri.authority().is_some_and(|authority| authority.as_str() != host) {
            return refuse(
                "this server has another name: use the address that it has printed, or start it with --name",
            );
        }
        let is_own_origin = |origin: &[u8]| origin.strip_prefix(b"http://") == Some(host.as_bytes());
        if headers.get_all(header::ORIGIN).iter().any(|origin| !is_own_origin(origin.as_bytes())) {
            return refuse("requests of other sites are refused");
        }
        let told = |name: &str| headers.get(name).map(|value| value.as_bytes());
        // Whoever follows a link to the page itself sends nothing and sees what everybody sees.
        let follows = method == Method::GET && uri.path() == "/" && told("sec-fetch-mode") == Some(b"navigate");
        let is_own = matches!(told("sec-fetch-site"), None | Some(b"same-origin" | b"none"));
        if is_own || follows { Ok(()) } else { refuse("requests of other sites are refused") }
    }

    fn is_own(&self, host: &str) -> bool {
        let port = self.address.port();
        let name = match host.rsplit_once(':') {
            Some((name, given)) if given.parse() == Ok(port) => name,
            _ if port == 80 => host,
            _ => return false,
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
        let own = self.address.ip();
        match address {
            // Nobody can give an address another meaning, as one can a name: the token does the rest.
            Ok(address) => address == own || own.is_unspecified() || own.is_loopback() && address.is_loopback(),
            Err(_) => {
                own.is_loopback() && name.eq_ignore_ascii_case("localhost")
                    || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
            }
        }
    }

    /// Whether the sender of these headers knows the token, if one is needed.
    pub fn knows(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        self.token.is_none() || pairs.any(|(name, value)| name == self.cookie_name() && self.is_token(value))
    }

    /// Whether a text is the token. How long this takes does not depend on how much of it is right.
    pub fn is_token(&self, text: &str) -> bool {
        self.token.as_ref().is_some_and(|token| blake3::hash(token.as_bytes()) == blake3::hash(text.as_bytes()))
    }

    /// Returns the cookie that shows that its sender knows the token.
    pub fn cookie(&self) -> String {
        let (name, token) = (self.cookie_name(), self.token().unwrap_or_default());
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict")
    }

    /// Cookies belong to a host and not to a port: each server on a machine has its own.
    fn cookie_name(&self) -> String {
        format!("{COOKIE}-{}", self.address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, path: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| _ = map.append(*name, value.parse().unwrap()));
        guard.check(&Method::GET, &path.parse().unwrap(), &map).is_ok()
    }

    #[test]
    fn other_hosts_and_sites_are_refused() {
        let guard = Guard::new("127.0.0.1:7900".parse().unwrap(), vec!["board.lan".into()]);
        for host in ["127.0.0.1:7900", "localhost:7900", "LOCALHOST:7900", "[::1]:7900", "board.lan:7900"] {
            assert!(check(&guard, "/api", &[("host", host)]), "{host}");
        }
        for host in ["", "127.0.0.1", "localhost:7901", "evil.example:7900", "192.168.0.1:7900", "localhost:7900:7900"]
        {
            assert!(!check(&guard, "/api", &[("host", host)]), "{host}");
        }
        let host = ("host", "localhost:7900");
        assert!(!check(&guard, "/api", &[host, host]) && !check(&guard, "/api", &[]));
        assert!(check(&guard, "/api", &[host, ("origin", "http://localhost:7900"), ("sec-fetch-site", "same-origin")]));
        for origin in ["http://127.0.0.1:7900", "https://localhost:7900", "null", "http://localhost:79000"] {
            assert!(!check(&guard, "/api", &[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!check(&guard, "/api", &[host, ("sec-fetch-site", site)]));
            assert!(!check(&guard, "/api", &[host, ("sec-fetch-site", site), ("sec-fetch-mode", "navigate")]));
            assert!(check(&guard, "/", &[host, ("sec-fetch-site", site), ("sec-fetch-mode", "navigate")]));
        }
        assert!(guard.token().is_none());

        let open = Guard::new("0.0.0.0:7900".parse().unwrap(), vec![]);
        assert!(
            check(&open, "/", &[("host", "192.168.0.1:7900")]) && !check(&open, "/", &[("host", "evil.example:7900")])
        );
        let with = |cookie: &str| HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]);
        let cookie = open.cookie();
        let pair = cookie.split(';').next().unwrap();
        assert!(open.knows(&with(&format!("other=1; {pair}"))) && !open.knows(&HeaderMap::new()));
        assert!(!open.knows(&with(&pair[..pair.len() - 1])) && !open.knows(&with("lockstep-7900=")));
    }
}
