//! How a service answers what the HTTP API asks (`ringway_bus::api`).

use ringway_bus::api::{API, Answer, Ask, Found, What, first_of};

use super::members::Members;
use crate::proto::CloseCode;
use crate::protocol::{Handle, News};

/// What a service tells of itself.
pub(super) trait Asked {
    fn service(&self) -> &str;
    fn topics(&self) -> Vec<(&str, u64)>;
    fn members(&mut self) -> &mut Members;
}

/// Answers what is a note of the API for this service.
pub(super) fn answer(asked: &mut impl Asked, worker: &mut Handle<'_>, news: &News<'_>) {
    let News::Note { topic, body, .. } = *news else {
        return;
    };
    if topic != API.as_bytes() {
        return;
    }
    let Some(Ask {
        ticket,
        service,
        what,
    }) = Ask::decode(body)
    else {
        return;
    };
    if service != asked.service() {
        return;
    }
    let found = match what {
        What::Topics(page) => first_of(asked.topics(), page),
        What::Close {
            selection,
            code,
            reason,
        } => {
            let code = CloseCode::sendable(code).unwrap_or(CloseCode::PolicyViolation);
            let members = asked.members();
            let clients = members.select(selection).into_iter();
            let closed = clients.filter(|id| members.send_away(worker, *id, code, reason));
            let closed = closed.count() as u64;
            Found::Closed { clients: closed }
        }
    };
    let answer = Answer {
        ticket,
        service,
        found,
    };
    if let Err(why) = worker.note(API, &answer.encode()) {
        tracing::error!("the HTTP API gets no answer of this worker: {why}");
    }
}
