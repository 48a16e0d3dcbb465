//! What can be asked: the pages, and an interface of JSON under `/api`.

use super::{
    Site,
    archive::{Answer, Query},
    players::{Key, Run},
    seats::Order,
    secret,
};
use crate::Error;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The most bytes of a request's body.
const BODY: usize = 16 * 1024;

/// The time within which the body of a request must be there.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The longest name of a browser.
const NAME: usize = 64;

/// Why a request is not carried out.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    /// Returns a refusal with this text.
    pub fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.into() }
    }

    /// Returns the refusal of who asks for too much at once.
    pub fn slower() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "these are too many requests at once: wait a moment")
    }

    /// Returns the refusal of what is asked of a session that there is not.
    pub fn closed() -> Self {
        Self::new(StatusCode::NOT_FOUND, "this session is closed: begin a new one")
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = if error.exit_code() == 2 { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self { status, text: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, object(&json!({"error": self.text}))).into_response()
    }
}

type Answered = Result<Response, Refusal>;

/// Returns all that can be asked.
pub fn pages(site: Arc<Site>) -> Router {
    let open = Router::new().route("/", get(board)).route("/api/token", post(token));
    let known = Router::new()
        .route("/report", get(async |site| report(site, "all".into()).await))
        .route("/report/{which}", get(async |site, Path(which)| report(site, which).await))
        .route("/api/report/{which}/{stamp}", get(newer))
        .route("/events/{browser}", get(events))
        .route("/api/players", get(players))
        .route("/api/games", post(games))
        .route("/api/sessions", post(begin))
        .route("/api/sessions/{id}", get(shown))
        .route("/api/sessions/{id}", delete(close))
        .route("/api/sessions/{id}/play", post(play))
        .route("/api/sessions/{id}/back", post(back))
        .route("/api/sessions/{id}/position", post(position))
        .route("/api/sessions/{id}/evaluate", post(evaluate))
        .route("/api/sessions/{id}/look", post(look))
        .route("/api/sessions/{id}/search", post(search))
        .route("/api/sessions/{id}/why", post(why))
        .route("/api/sessions/{id}/stop", post(stop))
        .route_layer(middleware::from_fn_with_state(site.clone(), with_token));
    let nothing = async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here");
    let other = async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this is asked for in another way");
    open.merge(known)
        .fallback(nothing)
        .method_not_allowed_fallback(other)
        .layer(middleware::from_fn_with_state(site.clone(), guarded))
        .with_state(site)
}

/// Refuses what comes from elsewhere or is too large, and gives every answer the headers that keep a page to itself.
async fn guarded(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = match checked(&site, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => {
            // What is left of the body is not read.
            let mut response = refusal.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let policy = header::CONTENT_SECURITY_POLICY;
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().entry(policy).or_insert(nothing);
    response
}

async fn checked(site: &Site, request: Request) -> Result<Request, Refusal> {
    site.guard.check(request.method(), request.uri(), request.headers())?;
    let (head, body) = request.into_parts();
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body of a request has at most 16 kB");
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY)).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time");
    let body = read.map_err(late)?.map_err(|_| too_large())?;
    // A form of another site can send neither this kind nor, unasked, any other method.
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if head.method == Method::POST && kind != Some(b"application/json") {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    Ok(Request::from_parts(head, body.into()))
}

async fn with_token(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if site.guard.knows(request.headers()) {
        return next.run(request).await;
    }
    let text = "open the address with the token that lockstep serve has printed";
    Refusal::new(StatusCode::UNAUTHORIZED, text).into_response()
}

fn object(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Reads the body of a request.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, &format!("the body is not as expected: {e}")))
}

/// Runs what may take long on a thread where it keeps nobody waiting.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Refusal> {
    let ended = tokio::task::spawn_blocking(work).await;
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "this request has failed: the server goes on");
    Ok(ended.map_err(failed)??)
}

/// Answers with a page of this program, whose own scripts and styles alone may run.
fn page(html: &str) -> Response {
    let nonce = secret();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let html = html.replace("<script>", &format!("<script nonce=\"{nonce}\">"));
    let html = html.replace("<style>", &format!("<style nonce=\"{nonce}\">"));
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, &*policy)], html)
        .into_response()
}

async fn board() -> Response {
    page(concat!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>lockstep</title>\n",
        "<link rel=\"icon\" href=\"data:,\">\n<style>",
        include_str!("../../page/base.css"),
        include_str!("../../page/charts.css"),
        include_str!("../../page/play.css"),
        "</style>\n</head>\n",
        include_str!("../../page/play.html"),
        "<script>",
        include_str!("../../page/board.js"),
        include_str!("../../page/charts.js"),
        include_str!("../../page/play.js"),
        "</script>\n</html>\n",
    ))
}

/// Shows the report of a run by its number, or of all of them over each other.
async fn report(State(site): State<Arc<Site>>, which: String) -> Answered {
    let one = site.scans.clone().try_acquire_owned().map_err(|_| Refusal::slower())?;
    let html = apart(move || {
        let html = super::report::page(&site.players.runs, &which);
        drop(one);
        html
    });
    Ok(page(&html.await?))
}

/// Returns the data of a report, if they are newer than those of this stamp.
async fn newer(State(site): State<Arc<Site>>, Path((which, seen)): Path<(String, String)>) -> Answered {
    let one = site.scans.clone().try_acquire_owned().map_err(|_| Refusal::slower())?;
    let newer = apart(move || {
        let newer = super::report::newer(&site.players.runs, &which, &seen);
        drop(one);
        newer
    });
    Ok(match newer.await? {
        None => StatusCode::NO_CONTENT.into_response(),
        Some((stamp, json)) => {
            let stamp = (HeaderName::from_static("x-stamp"), stamp);
            ([(header::CONTENT_TYPE, "application/json".to_string()), stamp], json).into_response()
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
}

/// Takes the token, and gives the cookie that stands for it.
async fn token(State(site): State<Arc<Site>>, body: Bytes) -> Answered {
    let Token { token } = read(&body)?;
    if !site.rate().take() {
        return Err(Refusal::slower());
    }
    match site.guard.token() {
        Some(_) if !site.guard.is_token(&token) => {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "this is not the token that lockstep serve has printed"))
        }
        Some(_) => Ok(([(header::SET_COOKIE, site.guard.cookie())], object(&json!({}))).into_response()),
        None => Ok(object(&json!({}))),
    }
}

async fn events(State(site): State<Arc<Site>>, Path(browser): Path<String>) -> Answered {
    check_name(&browser)?;
    let too_many = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages listen already: close some");
    let stream = site.hub.open(&browser).ok_or_else(too_many)?;
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)).into_response())
}

fn check_name(browser: &str) -> Result<(), Refusal> {
    if (1..=NAME).contains(&browser.len()) && browser.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::BAD_REQUEST, "browser: a name of at most 64 letters and digits"))
}

async fn players(State(site): State<Arc<Site>>) -> Answered {
    if !site.rate().take() {
        return Err(Refusal::slower());
    }
    Ok(object(&apart(move || site.players.shown()).await?))
}

async fn games(State(site): State<Arc<Site>>, body: Bytes) -> Answered {
    let query: Query = read(&body)?;
    let one = site.scans.clone().try_acquire_owned().map_err(|_| Refusal::slower())?;
    let answer = apart(move || {
        let answer = site.players.run(query.run()).and_then(|run: &Run| query.answer(run));
        drop(one);
        answer
    });
    Ok(match answer.await? {
        Answer::Page(page) => object(&page),
        Answer::File(kind, text) => {
            let kind = if kind == "csv" { "text/csv; charset=utf-8" } else { "text/plain; charset=utf-8" };
            ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, "attachment")], text).into_response()
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    player: String,
    browser: String,
    #[serde(default)]
    moves: String,
}

async fn begin(State(site): State<Arc<Site>>, body: Bytes) -> Answered {
    let Begin { player, browser, moves } = read(&body)?;
    check_name(&browser)?;
    if !site.rate().take() {
        return Err(Refusal::slower());
    }
    let key = Key::parse(&player)?;
    let open = move || {
        site.seats.check()?;
        site.seats.open(site.players.sit(key)?, &browser, &moves, &site.hub)
    };
    Ok(object(&apart(open).await?))
}

async fn shown(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answered {
    Ok(object(&site.seats.of(&id)?.shown()))
}

async fn close(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answered {
    site.seats.close(&id);
    Ok(object(&json!({})))
}

async fn stop(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answered {
    site.seats.of(&id)?.stop();
    Ok(object(&json!({})))
}

/// Hands an order to a session, and answers with what the session answers.
async fn order(site: &Site, id: &str, order: Order) -> Answered {
    let answer = site.seats.of(id)?.give(order);
    let answer = match answer {
        Ok(answer) => answer.await.map_err(|_| Refusal::closed()),
        Err(refusal) => Err(refusal),
    };
    if matches!(&answer, Err(refusal) if refusal.status == StatusCode::NOT_FOUND) {
        site.seats.close(id);
    }
    Ok(object(&answer??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    #[serde(rename = "move")]
    text: String,
}

async fn play(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Move { text } = read(&body)?;
    order(&site, &id, Order::Play(text)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    moves: usize,
}

async fn back(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Back { moves } = read(&body)?;
    order(&site, &id, Order::Back(moves)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    moves: String,
}

async fn position(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Position { moves } = read(&body)?;
    order(&site, &id, Order::Set(moves)).await
}

async fn evaluate(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answered {
    order(&site, &id, Order::Evaluate).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    path: Vec<u16>,
}

async fn look(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Look { path } = read(&body)?;
    order(&site, &id, Order::Look(path)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    simulations: u32,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    play: bool,
}

async fn search(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Search { simulations, more, play } = read(&body)?;
    if simulations == 0 {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "simulations: 1 at least"));
    }
    order(&site, &id, Order::Search { simulations, more, play }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    about: Option<String>,
}

async fn why(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answered {
    let Why { about } = read(&body)?;
    let text = "the history of another position is looked up already: wait until it is there";
    let busy = |_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
    let right = site.histories.clone().try_acquire_owned().map_err(busy)?;
    order(&site, &id, Order::Why { about, right }).await
}
