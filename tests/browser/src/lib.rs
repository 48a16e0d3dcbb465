//! A browser that a test tells what to do, by the WebDriver protocol, and a server for it to look at.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The longest time that a test waits for something on a page.
const PATIENCE: Duration = Duration::from_secs(60);

/// The key by which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A running `lockstep serve`.
pub struct Server {
    _process: Process,
    /// Where it answers, such as `http://127.0.0.1:7900/`.
    pub url: String,
}

/// Returns the program: the one that the variable `LOCKSTEP` names, or the one that was built in this folder.
pub fn program() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/lockstep");
    std::env::var_os("LOCKSTEP").map_or_else(built, PathBuf::from)
}

/// Runs the program in a folder, with these arguments.
///
/// # Panics
/// If it fails.
pub fn lockstep(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(program()).current_dir(folder).args(args).output().expect("the program was built");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Trains tic-tac-toe for four generations in the folder `name`, within a second.
///
/// # Panics
/// If that fails.
pub fn train(folder: &Path, name: &str, seed: &str) {
    let sets = ["run.generations=4", "run.games=40", "network.channels=8", "run.checkpoint_every=1"];
    let args =
        ["train", "--run", name, "--seed", seed].into_iter().chain(sets.into_iter().flat_map(|set| ["--set", set]));
    lockstep(folder, &args.collect::<Vec<_>>());
}

impl Server {
    /// Starts a server in a folder, with these arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.current_dir(folder).args(["serve", "--port", "0", "--threads", "1"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("build the program with cargo build --release");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it prints its address");
        let url = line.trim().strip_prefix("Open ").unwrap_or_else(|| panic!("it has printed: {line}")).to_string();
        Self { _process: Process(child), url }
    }

    /// Asks the server for something as a page does.
    ///
    /// # Panics
    /// If it is not granted.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        http(address, method, path, body)
    }
}

/// A browser with one page or several.
pub struct Browser {
    _driver: Process,
    address: String,
    session: String,
}

impl Browser {
    /// Opens a browser with a window, or the screen of a phone, of this width.
    ///
    /// # Panics
    /// If there is no chromedriver or chromium.
    pub fn open(width: u32) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let driver = Command::new("chromedriver").arg(format!("--port={port}")).stdout(Stdio::null()).spawn();
        let driver = Process(driver.expect("install chromium and chromium-driver"));
        let address = format!("127.0.0.1:{port}");
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < PATIENCE, "chromedriver does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        let size = format!("--window-size={width},900");
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &size];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = http(&address, "POST", "/session", &wanted)["value"]["sessionId"].clone();
        let session = session.as_str().unwrap_or_else(|| panic!("no session: {session}")).to_string();
        let browser = Self { _driver: driver, address, session };
        if width < 500 {
            // No window is so narrow: it is the screen of a phone.
            let screen = json!({"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": true});
            let order = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": screen});
            browser.tell("POST", "goog/cdp/execute", &order);
        }
        browser
    }

    fn tell(&self, method: &str, what: &str, body: &Value) -> Value {
        http(&self.address, method, &format!("/session/{}/{what}", self.session), body)["value"].clone()
    }

    /// Goes to a page.
    pub fn go(&self, url: &str) {
        self.tell("POST", "url", &json!({"url": url}));
    }

    /// Opens another window, and goes on there; the first one is still seen.
    pub fn another_window(&self) {
        let window = self.tell("POST", "window/new", &json!({"type": "window"}));
        self.tell("POST", "window", &json!({"handle": window["handle"]}));
    }

    /// Returns what a script of the page returns.
    pub fn script(&self, script: &str) -> Value {
        self.tell("POST", "execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression of the page is true.
    ///
    /// # Panics
    /// If it never is.
    pub fn wait(&self, expression: &str) {
        let began = Instant::now();
        while self.script(&format!("return Boolean({expression})")) != true {
            let page = || self.script("return document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "it never holds: {expression}; the page says {}", page());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&self, css: &str) -> String {
        let found = self.tell("POST", "element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("{css}: {found}")).to_string()
    }

    /// Clicks on an element.
    ///
    /// # Panics
    /// If there is none that can be clicked on.
    pub fn click(&self, css: &str) {
        let answer = self.tell("POST", &format!("element/{}/click", self.find(css)), &json!({}));
        assert!(answer.is_null(), "{css}: {answer}");
    }

    /// Presses keys, wherever the focus is: letters, or the names of keys that WebDriver has numbers for.
    ///
    /// # Panics
    /// If a name is not known.
    pub fn keys(&self, keys: &[&str]) {
        let key = |name: &&str| {
            match *name {
                "Enter" => "\u{e007}",
                "Backspace" => "\u{e003}",
                "Left" => "\u{e012}",
                "Up" => "\u{e013}",
                "Right" => "\u{e014}",
                "Down" => "\u{e015}",
                "Tab" => "\u{e004}",
                letter if letter.chars().count() == 1 => letter,
                other => panic!("{other} is no key"),
            }
            .to_string()
        };
        let actions = keys.iter().map(key);
        let actions = actions.flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let actions: Vec<_> = actions.collect();
        self.tell("POST", "actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// Checks that the page has asked nobody but its server, and has complained about nothing to the console.
    ///
    /// # Panics
    /// If it did.
    pub fn is_content(&self, server: &Server) {
        let asked = self.script("return performance.getEntriesByType('resource').map(entry => entry.name)");
        let elsewhere = |url: &&Value| !url.as_str().expect("an address").starts_with(&server.url);
        let elsewhere: Vec<&Value> = asked.as_array().expect("a list").iter().filter(elsewhere).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");
        assert_eq!(self.complaints(), Vec::<String>::new());
    }

    /// Returns what the page has complained about to the console.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.tell("POST", "se/log", &json!({"type": "browser"}));
        let severe = log.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !thread::panicking() {
            http(&self.address, "DELETE", &format!("/session/{}", self.session), &json!({}));
        }
    }
}

/// Sends a request, and returns the JSON of its answer.
fn http(address: &str, method: &str, path: &str, body: &Value) -> Value {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    let body = if method == "POST" { body.to_string() } else { String::new() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap_or_else(|e| panic!("{path}: {e}"));
        match line.to_lowercase().trim().strip_prefix("content-length:") {
            Some(given) => length = given.trim().parse().expect("a length is a number"),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_slice(&answer).unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&answer)))
}
