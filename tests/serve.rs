//! `lockstep serve`, spoken to as a browser speaks to it and as nobody should.

use crate::{attacks, lockstep, text};
use lockstep::{
    components::{Outcome, State},
    folder::Folder,
    games,
    log::Log,
    view::View,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A server that ends with its test.
struct Server {
    child: Child,
    address: String,
    token: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Server {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(dir).args(["serve", "--port", "0", "--threads", "1"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = line.trim().strip_prefix("Open http://").unwrap_or_else(|| panic!("it has printed: {line}"));
        let (address, token) = told.split_once('/').unwrap();
        let token = token.strip_prefix("#token=").map(String::from);
        Self { child, address: address.into(), token }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends these bytes, and returns the status of the answer and all that was answered; 0 where nothing was.
    fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // It may have hung up before it has heard everything.
        _ = stream.write_all(bytes);
        let mut answer = vec![];
        _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        self.raw(format!("{head}\r\n{body}").as_bytes())
    }

    /// Asks as the page does, and returns the status and what was answered.
    fn ask(&self, path: &str, body: Value) -> (u16, Value) {
        let headers = [("Host", &*self.address), ("Content-Type", "application/json")];
        let (status, answer) = self.request("POST", path, &headers, &body.to_string());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.into())))
    }

    /// Asks for what must be granted.
    fn get(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn begin(&self, player: &str, browser: &str) -> Value {
        self.get("/api/sessions", json!({"player": player, "browser": browser}))
    }

    fn listen(&self, browser: &str) -> Events {
        let mut stream = self.connect();
        write!(stream, "GET /events/{browser} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        // The first sign of life tells that the stream is open.
        while !line.starts_with(": here") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the stream of {browser} has ended");
        }
        Events(lines)
    }

    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

struct Events(BufReader<TcpStream>);

impl Events {
    /// Returns the next event for which this holds.
    fn next(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if let Some(event) = line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap())
                && is_it(&event)
            {
                return event;
            }
        }
    }
}

/// The position behind some moves, as a page should see it.
fn position(game: &str, moves: &Value) -> (State, Value) {
    let moves: Vec<&str> = moves.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let (states, actions) = games::named(game).unwrap().usual_start().line(&moves.join(" ")).unwrap();
    let before = states.iter().rev().nth(1).zip(actions.last().copied());
    let view = View::of(&states[states.len() - 1], before);
    (states[states.len() - 1].clone(), serde_json::to_value(view).unwrap())
}

#[test]
fn whole_games_are_played_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--simulations", "40", "--sessions", "2"]);
    for game in ["tictactoe", "connect_four", "dots_and_boxes", "hex5", "breakthrough6", "clobber", "othello6"] {
        let mut events = server.listen("me");
        let mut state = server.begin(&format!("rollout:{game}"), "me");
        let session = format!("/api/sessions/{}", state["id"].as_str().unwrap());
        while state["view"]["result"].is_null() {
            let (_, view) = position(game, &state["moves"]);
            assert_eq!(state["view"], view, "{game}");
            state = if state["view"]["to_move"] == 0 {
                let legal = state["view"]["legal"].as_array().unwrap();
                let chosen = &legal[state["moves"].as_array().unwrap().len() * 7 % legal.len()];
                server.get(&format!("{session}/play"), json!({"move": chosen["text"]}))
            } else {
                server.get(&format!("{session}/search"), json!({"simulations": 20, "play": true}));
                events.next(|event| event["state"]["searching"] == false)["state"].clone()
            };
        }
        let (last, view) = position(game, &state["moves"]);
        assert!(state["view"] == view && last.outcome().is_some(), "{game}: {state}");
        let (status, answer) = server.ask(&format!("{session}/search"), json!({"simulations": 1}));
        assert!(status == 400 && answer["error"].as_str().unwrap().contains("over"), "{answer}");
        // All is taken back, a position is set, and what is wrong changes nothing.
        let back = server.get(&format!("{session}/back"), json!({"moves": 1000}));
        assert_eq!(back["moves"], json!([]));
        let (status, answer) = server.ask(&format!("{session}/position"), json!({"moves": "z99"}));
        assert!(status == 400 && answer["error"].as_str().unwrap().contains("z99"), "{answer}");
        let moves = state["moves"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>();
        let set = server.get(&format!("{session}/position"), json!({"moves": moves.join(" ")}));
        assert_eq!(set["view"], state["view"], "{game}");
        let headers = [("Host", &*server.address)];
        assert_eq!(server.request("DELETE", &session, &headers, "").0, 200);
        assert_eq!(server.ask(&format!("{session}/play"), json!({"move": "a1"})).0, 404);
    }
}

#[test]
fn a_stopped_search_keeps_what_it_has_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--simulations", "200000", "--sessions", "1"]);
    let mut events = server.listen("me");
    let state = server.begin("rollout:othello6", "me");
    let most = state["most"].as_u64().unwrap();
    let session = format!("/api/sessions/{}", state["id"].as_str().unwrap());
    let search = |simulations: u64, play: bool| {
        let order = json!({"simulations": simulations, "play": play, "more": !play});
        assert_eq!(server.get(&format!("{session}/search"), order)["searching"], true);
    };
    search(most, false);
    // One search at a time, and nothing that needs the tree meanwhile.
    for (what, order) in [("search", json!({"simulations": 5})), ("look", json!({"path": []}))] {
        assert_eq!(server.ask(&format!("{session}/{what}"), order).0, 409, "{what}");
    }
    assert!(events.next(|event| !event["found"].is_null())["found"]["simulations"].as_u64().unwrap() > 0);
    server.get(&format!("{session}/stop"), json!({}));
    let state = events.next(|event| !event["state"].is_null())["state"].clone();
    let found = &state["found"];
    let made = found["simulations"].as_u64().unwrap();
    assert!(found["ended"] == "stopped" && made > 0 && made < most, "{found}");
    let sum = |moves: &Value| moves.as_array().unwrap().iter().map(|of| of["visits"].as_u64().unwrap()).sum::<u64>();
    // The tree is still there, and can be walked.
    let root = server.get(&format!("{session}/look"), json!({"path": []}));
    assert!(sum(&root["moves"]) == made && root["moves"] == found["moves"], "{root}");
    let below = server.get(&format!("{session}/look"), json!({"path": [found["action"]]}));
    let (state, view) = position("othello6", &json!([found["line"][0]]));
    assert!(below["view"] == view && sum(&below["moves"]) > 0 && state.outcome().is_none(), "{below}");
    assert_eq!(server.ask(&format!("{session}/look"), json!({"path": [0]})).0, 400);
    // It goes on with what there is.
    search(50, false);
    let found = events.next(|event| !event["state"].is_null())["state"]["found"].clone();
    assert_eq!((found["reused"].as_u64(), found["simulations"].as_u64()), (Some(made), Some(made + 50)));
    // A search that was to move moves when it is stopped, and does not when the position is changed.
    search(most, true);
    server.get(&format!("{session}/stop"), json!({}));
    let played = events.next(|event| !event["state"].is_null())["state"]["moves"].clone();
    assert_eq!(played.as_array().unwrap().len(), 1, "{played}");
    search(most, true);
    let back = server.get(&format!("{session}/back"), json!({"moves": 1}));
    assert_eq!((&back["moves"], &back["searching"]), (&json!([]), &json!(false)));
    // There is one place, and who has just used it keeps it.
    let (status, answer) = server.ask("/api/sessions", json!({"player": "rollout:othello6", "browser": "other"}));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("--sessions"), "{answer}");
}

#[test]
fn requests_from_elsewhere_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--simulations", "10", "--name", "board.example"]);
    let port = server.address.rsplit(':').next().unwrap();
    let own = server.address.as_str();
    let (local, named) = (format!("localhost:{port}"), format!("board.example:{port}"));
    let json = ("Content-Type", "application/json");
    let body = json!({"player": "rollout:tictactoe", "browser": "me"}).to_string();
    let post = |headers: &[(&str, &str)], body: &str| server.request("POST", "/api/sessions", headers, body).0;
    for host in [own, &local, &named] {
        let origin = format!("http://{host}");
        assert_eq!(post(&[("Host", host), ("Origin", &origin), json, ("Sec-Fetch-Site", "same-origin")], &body), 200);
    }
    let (evil, other) = (format!("evil.example:{port}"), format!("http://{local}"));
    for headers in [
        vec![("Host", &*evil), json],
        vec![("Host", "localhost"), json],
        vec![json],
        vec![("Host", own), ("Host", own), json],
        vec![("Host", own), ("Origin", &*other), json],
        vec![("Host", own), ("Origin", "null"), json],
        vec![("Host", own), ("Sec-Fetch-Site", "cross-site"), json],
        vec![("Host", own), ("Sec-Fetch-Site", "same-site"), json],
    ] {
        assert!(matches!(post(&headers, &body), 400 | 403), "{headers:?}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(post(&[("Host", own), ("Content-Type", kind)], &body), 415, "{kind}");
    }
    let large = format!("{{\"player\": \"{}\"}}", "x".repeat(20_000));
    assert_eq!(post(&[("Host", own), json], &large), 413);
    let chunked = format!(
        "POST /api/sessions HTTP/1.1\r\nHost: {own}\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         5000\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x5000)
    );
    assert_eq!(server.raw(chunked.as_bytes()).0, 413);
    for (body, word) in [
        ("{}", "player"),
        (r#"{"player": "rollout:chess", "browser": "me"}"#, "unknown game 'chess'"),
        (r#"{"player": "0", "browser": "me"}"#, "no run"),
        (r#"{"player": "../run", "browser": "me"}"#, "no such player"),
        (r#"{"player": "rollout:tictactoe", "browser": "<script>"}"#, "letters and digits"),
        (r#"{"player": "rollout:tictactoe", "browser": "me", "moves": "q7"}"#, "q7"),
        (r#"{"player": "rollout:tictactoe", "browser": "me", "path": "/etc"}"#, "unknown field"),
    ] {
        let (status, answer) = server.request("POST", "/api/sessions", &[("Host", own), json], body);
        assert!(status == 400 && answer.contains(word), "{body}: {answer}");
    }
    // What is not there has the same answer whatever it is called.
    for path in ["/nothing", "/api/../../etc/passwd", "/<script>alert(1)</script>", "/%00", "/report"] {
        let (status, answer) = server.request("GET", path, &[("Host", own)], "");
        assert!(matches!(status, 400 | 404) && !answer.contains("alert"), "{path}: {answer}");
    }
    assert_eq!(server.request("GET", "/api/sessions", &[("Host", own)], "").0, 405);
    // The page may run its own scripts alone, and says nothing to others.
    let (status, page) = server.request("GET", "/", &[("Host", own)], "");
    let nonce = |page: &str| page.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_string();
    assert!(status == 200 && page.contains(&format!("<script nonce=\"{}\">", nonce(&page))), "{page}");
    assert_ne!(nonce(&page), nonce(&server.request("GET", "/", &[("Host", own)], "").1));
    for words in ["default-src 'none'", "frame-ancestors 'none'", "x-content-type-options: nosniff", "no-referrer"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("https://") && !page.contains("access-control"), "it asks other hosts");
}

/// Whatever is sent, the server answers the next one, and takes no more memory.
#[test]
fn malformed_requests_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--simulations", "10", "--sessions", "4"]);
    // The tables of all that is asked for below are there before the memory is measured.
    server.begin("rollout:tictactoe", "me");
    let state = server.begin("rollout:connect_four", "me");
    let id = state["id"].as_str().unwrap();
    let own = &server.address;
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {own}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let sound = [
        format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n"),
        format!("GET /api/players HTTP/1.1\r\nHost: {own}\r\nCookie: a=b; lockstep\r\n\r\n"),
        post("/api/sessions", r#"{"player": "rollout:tictactoe", "browser": "me", "moves": "b2"}"#),
        post(&format!("/api/sessions/{id}/play"), r#"{"move": "4"}"#),
        post(&format!("/api/sessions/{id}/search"), r#"{"simulations": 3, "more": true}"#),
        post(&format!("/api/sessions/{id}/look"), r#"{"path": [3, 3, 70000]}"#),
        post(&format!("/api/sessions/{id}/why"), r#"{"about": "4"}"#),
        post("/api/games", r#"{"run": 0, "moves": "4", "next": [1, 18446744073709551615]}"#),
        post("/api/token", r#"{"token": "00"}"#),
    ];
    let mut seed = 1u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut attack = |count: u64| {
        for _ in 0..count {
            let mut bytes = sound[next(sound.len())].clone().into_bytes();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes[at] = next(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.splice(at..at, [b'"', b'{', b'\\', 0xff, b'\n'].repeat(1 + next(40))).for_each(drop),
                    3 => _ = bytes.remove(at.min(bytes.len() - 1)),
                    _ => bytes.rotate_left(at),
                }
                if bytes.is_empty() {
                    bytes.push(b'\r');
                }
            }
            let mut stream = server.connect();
            // What is not whole has no answer: the connection is given up then.
            stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
            _ = stream.write_all(&bytes);
            _ = stream.read(&mut [0; 1024]);
        }
    };
    attack(1_000);
    let before = server.resident();
    attack(9_000 * attacks());
    let after = server.resident();
    assert!(after < before + (16 << 20), "from {before} to {after} bytes");
    let page = server.request("GET", "/", &[("Host", own)], "");
    assert_eq!(page.0, 200);
    let state = server.ask(&format!("/api/sessions/{id}/back"), json!({"moves": 0}));
    assert!(matches!(state.0, 200 | 404), "{state:?}");
}

#[test]
fn a_hundred_streams_hear_what_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--simulations", "10"]);
    let mut streams: Vec<_> = (0..100).map(|number| server.listen(&format!("b{}", number % 20))).collect();
    for browser in [7, 3] {
        let state = server.begin("rollout:tictactoe", &format!("b{browser}"));
        let id = state["id"].as_str().unwrap();
        server.get(&format!("/api/sessions/{id}/search"), json!({"simulations": 5, "play": true}));
        for number in (0..100).filter(|number| number % 20 == browser) {
            // The first thing that each of them hears.
            assert_eq!(streams[number].next(|_| true)["session"], state["id"]);
            streams[number].next(|event| event["state"]["moves"].as_array().is_some_and(|moves| moves.len() == 1));
        }
    }
    // Nobody else has heard a thing.
    for (number, stream) in streams.iter_mut().enumerate().filter(|(number, _)| ![7, 3].contains(&(number % 20))) {
        stream.0.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut heard = String::new();
        while stream.0.read_line(&mut heard).is_ok_and(|read| read > 0) {}
        assert!(!heard.contains("data"), "{number}: {heard}");
    }
    // A browser has eight streams at most: the oldest one ends.
    let mut own: Vec<_> = (0..9).map(|_| server.listen("own")).collect();
    let mut rest = String::new();
    own[0].0.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("data"), "{rest}");
    drop(streams);
    assert_eq!(server.request("GET", "/", &[("Host", &server.address)], "").0, 200);
}

#[test]
fn a_network_needs_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--bind", "0.0.0.0", "--simulations", "10"]);
    let token = server.token.clone().expect("the address has a token");
    assert_eq!(token.len(), 32);
    assert_eq!(server.request("GET", "/", &[("Host", &server.address)], "").0, 200);
    let players =
        |cookie: &str| server.request("GET", "/api/players", &[("Host", &server.address), ("Cookie", cookie)], "").0;
    let events = server.request("GET", "/events/me", &[("Host", &server.address)], "").0;
    assert_eq!((players("none"), events), (401, 401));
    assert_eq!(server.ask("/api/token", json!({"token": "0".repeat(32)})).0, 401);
    let headers = [("Host", &*server.address), ("Content-Type", "application/json")];
    let answer = server.request("POST", "/api/token", &headers, &json!({"token": token}).to_string());
    let cookie = answer.1.split("set-cookie: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert!(answer.0 == 200 && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{}", answer.1);
    let pair = cookie.split(';').next().unwrap();
    assert_eq!((players(pair), players(&pair.replace(&token, &"0".repeat(32)))), (200, 401));
    let port = server.address.rsplit(':').next().unwrap();
    let evil = format!("evil.example:{port}");
    assert_eq!(server.request("GET", "/", &[("Host", &evil)], "").0, 403);
}

/// A run is the same bit for bit whether it is watched or not; its new checkpoints are told, and its games found.
#[test]
fn a_run_is_watched_while_it_trains() {
    let dir = tempfile::tempdir().unwrap();
    let sets =
        ["run.games=60", "search.simulations=12", "network.channels=16", "run.checkpoint_every=1", "run.device=cpu"];
    let train = |run: &str, generations: u64| {
        let generations = format!("run.generations={generations}");
        let mut args = vec!["train", "--run", run, "--set", &generations];
        sets.iter().for_each(|set| args.extend(["--set", set]));
        let output = lockstep(dir.path(), &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    train("alone", 1);
    train("alone", 4);
    train("watched", 1);
    let server = Server::start(dir.path(), &["watched", "--simulations", "100"]);
    let mut events = server.listen("me");
    let state = server.begin("0", "me");
    assert_eq!(state["player"], "0@1");
    let id = state["id"].as_str().unwrap().to_string();
    server.get(&format!("/api/sessions/{id}/search"), json!({"simulations": 100}));
    let ask = |path: &str| server.request("GET", path, &[("Host", &server.address)], "");
    let stamp = |answer: &str, before: &str, behind: &str| -> String {
        answer.split(before).nth(1).unwrap().split(behind).next().unwrap().into()
    };
    let (status, page) = ask("/report");
    assert!(
        status == 200 && page.contains("connect-src 'self'; base-uri") && page.contains("\"generation\":[1]"),
        "{page}"
    );
    let first = stamp(&page, "data-stamp=\"", "\"");
    assert_eq!(ask(&format!("/api/report/0/{first}")).0, 204, "nothing is new");
    train("watched", 4);
    events.next(|event| event["runs"] == json!([4]));
    let (status, newer) = ask(&format!("/api/report/all/{first}"));
    assert!(status == 200 && newer.contains("\"generation\":[1,2,3,4]"), "{newer}");
    assert_eq!(ask(&format!("/api/report/all/{}", stamp(&newer, "x-stamp: ", "\r\n"))).0, 204);
    assert_eq!((ask("/report/0").0, ask("/report/1").0, ask("/api/report/x/y").0), (200, 400, 400));
    assert_eq!(server.begin("0", "me")["player"], "0@4");
    assert_eq!(server.begin("0@1", "me")["player"], "0@1");
    let [alone, watched] = ["alone", "watched"].map(|run| dir.path().join(run));
    for file in (1..=4).map(|round| format!("log/{round:06}.games")).chain(["checkpoints/4/weights.safetensors".into()])
    {
        assert!(fs::read(alone.join(&file)).unwrap() == fs::read(watched.join(&file)).unwrap(), "{file} differs");
    }

    // The history of a position is what `lockstep why` tells, and that of a player without a run is refused.
    let session = server.begin("0", "me");
    let session = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    server.get(&format!("{session}/position"), json!({"moves": "b2"}));
    for about in [Value::Null, json!("a1")] {
        let found = server.get(&format!("{session}/why"), json!({"about": about}));
        let mut args = vec!["why", "watched", "b2", "--json", "--games", "50"];
        args.extend(about.as_str().into_iter().flat_map(|about| ["--move", about]));
        let told: Value = serde_json::from_slice(&lockstep(dir.path(), &args).stdout).unwrap();
        assert_eq!(found["why"], told);
        assert!(told["games"].as_array().unwrap().len() > 5 && told["generations"][3]["generation"] == 4, "{told}");
        assert!(found["sentences"][0].as_str().unwrap().contains("64 simulations"), "{found}");
    }
    assert_eq!(server.ask(&format!("{session}/why"), json!({"about": "b2"})).0, 400);
    let other = server.begin("rollout:tictactoe", "me");
    let other = format!("/api/sessions/{}/why", other["id"].as_str().unwrap());
    let (status, answer) = server.ask(&other, json!({}));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("from no run"), "{answer}");

    // What is found is what the log has.
    let tictactoe = games::named("tictactoe").unwrap();
    let log = Log::of(&Folder::at(&watched));
    let opening = tictactoe.usual_start().moves_of("b2").unwrap()[0];
    let all = (1..=4).flat_map(|round| log.read(tictactoe, round).unwrap().unwrap().games);
    let wanted = all.filter(|game| game.moves().next() == Some(opening) && game.finished == Some(Outcome::Loss));
    let wanted = wanted.map(|game| game.id.unwrap()).map(|id| (id.round, id.number));
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_unstable_by_key(|(round, number)| (std::cmp::Reverse(*round), *number));
    assert!(!wanted.is_empty());
    let query = |more: Value| {
        let mut query = json!({"run": 0, "moves": "b2", "result": "0-1"});
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.get("/api/games", query)
    };
    let number = |game: &Value, key: &str| game[key].as_u64().unwrap();
    let found = |page: &Value| -> Vec<_> {
        page["games"].as_array().unwrap().iter().map(|game| (number(game, "round"), number(game, "number"))).collect()
    };
    let page = query(json!({}));
    assert_eq!(found(&page), wanted[..wanted.len().min(50)]);
    let (round, own) = wanted[wanted.len() - 1];
    assert_eq!(found(&query(json!({"from": round, "to": round, "number": own}))), [(round, own)]);
    let of_two = query(json!({"from": 2, "to": 2}));
    assert_eq!(found(&of_two), wanted.iter().copied().filter(|(round, _)| *round == 2).collect::<Vec<_>>());
    // A page goes on where the one before has ended.
    let (mut paged, mut next) = (vec![], Value::Null);
    loop {
        let page = server.get("/api/games", json!({"run": 0, "next": next}));
        paged.extend(found(&page));
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    paged.sort_unstable();
    assert_eq!(paged, (1..=4).flat_map(|round| (0..60).map(move |number| (round, number))).collect::<Vec<_>>());
    let csv = query(json!({"file": "csv"}));
    let csv = csv.as_str().unwrap();
    assert!(csv.starts_with("round,number,result,") && csv.lines().count() == wanted.len() + 1, "{csv}");
    let lines = query(json!({"file": "txt"}));
    assert_eq!(lines.as_str().unwrap().lines().skip(1).filter(|line| line.contains(" 0-1 ")).count(), wanted.len());
}

/// The history of a position is bounded like a search: one at a time, ended by a stop and by another position.
#[test]
fn the_history_of_a_position_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let sets = ["run.generations=1", "run.games=2", "network.channels=8", "run.grade_simulations=1", "run.device=cpu"];
    let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let output = lockstep(dir.path(), &[&["train", "othello6", "--run", "run"], &args[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    // A search that takes far longer than the test.
    let config = dir.path().join("run/config.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, settings.replace("grade_simulations = 1\n", "grade_simulations = 300000\n")).unwrap();
    let server = Server::start(dir.path(), &["run", "--simulations", "100"]);
    let [session, other] = ["me", "you"].map(|browser| {
        let state = server.begin("0", browser);
        format!("/api/sessions/{}", state["id"].as_str().unwrap())
    });
    for (end, order) in [("stop", json!({})), ("position", json!({"moves": ""}))] {
        let mut events = server.listen("me");
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| server.get(&format!("{session}/why"), json!({})));
            let asking = events.next(|event| !event["asking"].is_null());
            assert!(asking["asking"].as_str().unwrap().starts_with("generation "), "{asking}");
            assert_eq!(server.ask(&format!("{other}/why"), json!({})).0, 429);
            assert_eq!(server.ask(&format!("{session}/search"), json!({"simulations": 5})).0, 409);
            server.get(&format!("{session}/{end}"), order);
            assert_eq!(asked.join().unwrap(), Value::Null, "{end}");
        });
    }
    // What was under way has left nothing behind.
    assert_eq!(server.get(&format!("{session}/search"), json!({"simulations": 5}))["searching"], true);
}

#[test]
fn what_cannot_be_served_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "no weights").unwrap();
    for (args, word) in [
        (&["nothing"][..], "no run here"),
        (&["--weights", "file"], "file"),
        (&["--weights", "missing"], "missing"),
        (&["--bind", "nowhere"], "--bind"),
        (&["--sessions", "0"], "--sessions"),
        (&["--bind", "192.0.2.1", "--port", "0"], "cannot listen at 192.0.2.1"),
    ] {
        let output = lockstep(dir.path(), &[&["serve"], args].concat());
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(word), "{args:?}: {error}");
    }
    let server = Server::start(dir.path(), &[]);
    let port = server.address.rsplit(':').next().unwrap();
    let output = lockstep(dir.path(), &["serve", "--port", port]);
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("another --port"), "{error}");
}
