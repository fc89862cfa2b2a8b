//! The HTTP API: publish, broadcast, list topics and disconnect clients, for applications in any language (`docs/api.md`).
//!
//! Owns: the routes below `/api/`, what their bodies say, and who may ask. Never: touches a worker's process; it is one more writer and reader of the
//! workers' bus.
//!
//! ```text
//!  web ─▶ routes (key, JSON) ── Request ──▶ teller (the bus) ─▶ desk (what is open)
//!                           ◀── Outcome ───
//! ```
//!
//! | limit | value | who exceeds it |
//! |---|---|---|
//! | bytes of a body | [`BODY_BYTES_MAX`] | gets 413 |
//! | messages of one body | [`BATCH_MAX`] | gets 400 |
//! | bytes of a subject or a path | [`TEXT_BYTES_MAX`] | gets 400 |
//! | requests that wait for the teller | [`QUEUE_MAX`] | wait |

mod desk;
mod said;
mod teller;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request as HttpRequest, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post};
use ringway_bus::api;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, oneshot};

use super::fleet::{ApiCounts, Shared, locked};
use super::options::ApiOptions;
use crate::options::Application;
use desk::{Outcome, Request};
pub(super) use teller::Teller;

const BODY_BYTES_MAX: usize = 1 << 20;
const BATCH_MAX: usize = 1000;
const QUEUE_MAX: usize = 1024;

/// Bytes of a subject, a path and a topic in a question: it is one record of the smallest bus.
const TEXT_BYTES_MAX: usize = 2048;

/// What the routes share.
#[derive(Clone)]
struct Desk {
    options: Arc<ApiOptions>,
    services: Arc<[(String, Application)]>,
    fleet: Shared,
    requests: mpsc::Sender<(Request, oneshot::Sender<Outcome>)>,
}

/// Why a request is not carried out.
struct Refused(StatusCode, String);

type Answered = Result<Json<Value>, Refused>;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

type Body = Result<Bytes, BytesRejection>;

fn taken(body: Body) -> Result<Bytes, Refused> {
    body.map_err(|rejection| Refused(rejection.status(), rejection.body_text()))
}

fn bad(why: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.into())
}

/// The routes, and what has to run beside them.
pub(super) fn router(
    options: ApiOptions,
    teller: Teller,
    fleet: Shared,
) -> (Router, impl Future<Output = ()> + Send) {
    let (requests, queue) = mpsc::channel(QUEUE_MAX);
    let shared = fleet.clone();
    let known = locked(&fleet).about.services.clone().into();
    let desk = Desk {
        options: Arc::new(options),
        services: known,
        fleet,
        requests,
    };
    let router = Router::new()
        .route("/api/services", get(services))
        .route("/api/topics", get(topics))
        .route("/api/publish", post(publish))
        .route("/api/broadcast", post(broadcast))
        .route("/api/disconnect", post(disconnect))
        .route("/api/{*rest}", any(nothing))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(desk.clone(), admit))
        .with_state(desk);
    (router, teller.serve(queue, shared))
}

/// Lets those in who have the key, and counts.
async fn admit(State(desk): State<Desk>, request: HttpRequest, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().split_first_chunk());
    let is_key = given.is_some_and(|(scheme, key): (&[u8; 7], _)| {
        scheme.eq_ignore_ascii_case(b"bearer ")
            && bool::from(desk.options.key.as_bytes().ct_eq(key.trim_ascii()))
    });
    // Before the answer: whoever asks may leave.
    let count = |read: fn(&mut ApiCounts) -> &mut u64| *read(&mut locked(&desk.fleet).api) += 1;
    count(|counts| &mut counts.requests);
    if !is_key {
        count(|counts| &mut counts.unauthorized);
        let why = "the key is needed: Authorization: Bearer KEY, as the first line of the file of --api-key";
        let refused = Refused(StatusCode::UNAUTHORIZED, why.to_owned());
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response();
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        count(|counts| &mut counts.failed);
    }
    response
}

async fn nothing() -> Refused {
    let why = "there is only services, topics, publish, broadcast and disconnect below /api/";
    Refused(StatusCode::NOT_FOUND, why.to_owned())
}

async fn wrong_method() -> Refused {
    let why = "services and topics are for GET, the others for POST";
    Refused(StatusCode::METHOD_NOT_ALLOWED, why.to_owned())
}

async fn services(State(desk): State<Desk>) -> Json<Value> {
    let services = desk
        .services
        .iter()
        .map(|(path, application)| json!({"service": path, "application": application.name()}));
    Json(json!({"services": services.collect::<Vec<_>>()}))
}

async fn topics(
    State(desk): State<Desk>,
    asked: Result<Query<said::Topics>, QueryRejection>,
) -> Answered {
    let Query(asked) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let said::Topics {
        service,
        topic,
        after,
        limit,
    } = asked;
    let service = desk.service(service.as_deref(), Application::needs_bus)?;
    let limit_max = api::TOPICS_MAX;
    let limit = limit.unwrap_or(100);
    if limit == 0 || usize::from(limit) > limit_max {
        return Err(bad(format!("limit is not from 1 to {limit_max}")));
    }
    let is_exact = topic.is_some();
    let after = topic.or(after).unwrap_or_default();
    if after.len() > TEXT_BYTES_MAX {
        return Err(bad(format!(
            "a topic here has at most {TEXT_BYTES_MAX} bytes"
        )));
    }
    let request = Request::Topics {
        service,
        after,
        limit,
        is_exact,
    };
    match desk.ask(request).await? {
        Outcome::Topics {
            topics,
            more,
            is_complete,
        } => {
            let each = topics.into_iter();
            let each = each
                .map(|(topic, subscribers)| json!({"topic": topic, "subscribers": subscribers}));
            Ok(Json(
                json!({"topics": each.collect::<Vec<_>>(), "more": more, "complete": is_complete}),
            ))
        }
        other => Err(refuse(&other)),
    }
}

async fn publish(State(desk): State<Desk>, body: Body) -> Answered {
    let body = taken(body)?;
    let (messages, is_list) =
        said::one_or_more::<said::Publish<'_>>(&body, BATCH_MAX).map_err(bad)?;
    let mut asked = Vec::new();
    for message in messages {
        let request =
            message.request(|service| desk.service(service, |kind| kind == Application::PubSub));
        // Those before a bad one are published: their answers say so.
        asked.push(match request {
            Ok(request) => Ok(desk.begin(request).await?),
            Err(refused) => Err(refused),
        });
    }
    let mut answers = Vec::new();
    for asked in asked {
        let answer = match asked {
            Ok(outcome) => match outcome.await.map_err(|_| gone())? {
                Outcome::Published(position) => {
                    // A string, because JavaScript does not count that far exactly.
                    Ok(json!({"epoch": position.epoch.to_string(), "offset": position.offset}))
                }
                other => Err(refuse(&other)),
            },
            Err(refused) => Err(refused),
        };
        match (answer, is_list) {
            (Ok(answer), false) => return Ok(Json(answer)),
            (Err(refused), false) => return Err(refused),
            (Ok(answer), true) => answers.push(answer),
            (Err(Refused(status, why)), true) => {
                locked(&desk.fleet).api.failed += 1;
                answers.push(json!({"error": why, "status": status.as_u16()}));
            }
        }
    }
    Ok(Json(Value::Array(answers)))
}

async fn broadcast(State(desk): State<Desk>, body: Body) -> Answered {
    let body = taken(body)?;
    let message: said::Broadcast = said::one(&body).map_err(bad)?;
    let frame = message.frame().map_err(bad)?;
    let named = message.service.as_ref();
    let services = desk.services(|kind| kind == Application::Broadcast);
    let mut services = services.filter(|path| named.is_none_or(|named| named == *path));
    let topics: Vec<_> = match &message.path {
        Some(_) if named.is_some() => {
            return Err(bad("give path or service: a path belongs to one service"));
        }
        Some(path) => {
            let topic = api::broadcast_topic(path).filter(|_| path.starts_with('/'));
            let topic = topic.ok_or_else(|| bad("path is none that a client can have"))?;
            services.next().map(|_| topic).into_iter().collect()
        }
        None => services
            .map(|path| api::broadcast_topic_of_all(path))
            .collect(),
    };
    if topics.is_empty() {
        return Err(bad("there is no such broadcast: see /api/services"));
    }
    for topic in topics {
        let frame = frame.clone();
        match desk.ask(Request::Broadcast { topic, frame }).await? {
            Outcome::Sent => {}
            other => return Err(refuse(&other)),
        }
    }
    Ok(Json(json!({})))
}

async fn disconnect(State(desk): State<Desk>, body: Body) -> Answered {
    let body = taken(body)?;
    let said::Disconnect {
        service,
        subject,
        path,
        address,
        code,
        reason,
    } = said::one(&body).map_err(bad)?;
    if subject.is_none() && path.is_none() && address.is_none() {
        return Err(bad(
            "whom: give subject, path or address, or several of them",
        ));
    }
    let is_long = |text: &Option<String>| {
        text.as_ref()
            .is_some_and(|text| text.len() > TEXT_BYTES_MAX)
    };
    if is_long(&subject) || is_long(&path) {
        return Err(bad(format!(
            "subject and path have at most {TEXT_BYTES_MAX} bytes"
        )));
    }
    let reason = reason.unwrap_or_default();
    if crate::proto::CloseCode::sendable(code).is_none() || reason.len() > 123 {
        return Err(bad(
            "code is none that a server may send, or reason has more than 123 bytes",
        ));
    }
    let address: Option<IpAddr> = address
        .map(|address| address.parse().map_err(|_| bad("address is no IP address")))
        .transpose()?;
    let services: Vec<_> = match &service {
        Some(_) => vec![desk.service(service.as_deref(), Application::needs_bus)?],
        None => desk.services(Application::needs_bus).cloned().collect(),
    };
    let request = Request::Close {
        services,
        subject,
        path,
        address: address.map(|address| address.to_canonical()),
        code,
        reason,
    };
    match desk.ask(request).await? {
        Outcome::Closed {
            clients,
            is_complete,
        } => Ok(Json(json!({"closed": clients, "complete": is_complete}))),
        other => Err(refuse(&other)),
    }
}

impl Desk {
    /// The paths of the services of a kind.
    fn services(&self, is_kind: impl Fn(Application) -> bool) -> impl Iterator<Item = &String> {
        let services = self.services.iter();
        services
            .filter(move |(_, kind)| is_kind(*kind))
            .map(|(path, _)| path)
    }

    /// The service that is meant: the one with this path, or the only one of its kind.
    fn service(
        &self,
        named: Option<&str>,
        is_kind: impl Fn(Application) -> bool,
    ) -> Result<String, Refused> {
        let mut fitting = self
            .services(is_kind)
            .filter(|path| named.is_none_or(|named| named == *path));
        match (fitting.next(), fitting.next()) {
            (Some(path), None) => Ok(path.clone()),
            (Some(_), Some(_)) => Err(bad(
                "there are several services of this kind: name one in service, see /api/services",
            )),
            (None, _) => Err(bad("there is no such service: see /api/services")),
        }
    }

    async fn begin(&self, request: Request) -> Result<oneshot::Receiver<Outcome>, Refused> {
        let (reply, outcome) = oneshot::channel();
        self.requests
            .send((request, reply))
            .await
            .map_err(|_| gone())?;
        Ok(outcome)
    }

    async fn ask(&self, request: Request) -> Result<Outcome, Refused> {
        self.begin(request).await?.await.map_err(|_| gone())
    }
}

fn gone() -> Refused {
    Refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "the bus of the workers is not read any more".to_owned(),
    )
}

/// The answer for what was not done.
fn refuse(outcome: &Outcome) -> Refused {
    match outcome {
        Outcome::TooBig { bytes_max } => Refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the message is larger than the bus takes: {bytes_max} bytes with its head, an eighth of --bus-log"
            ),
        ),
        Outcome::Late => Refused(
            StatusCode::GATEWAY_TIMEOUT,
            "no answer came in 5 seconds, and the message was perhaps published".to_owned(),
        ),
        Outcome::Deposed => Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the bus takes nothing from this server any more: start it again".to_owned(),
        ),
        _ => Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "too much is open: try again later".to_owned(),
        ),
    }
}
