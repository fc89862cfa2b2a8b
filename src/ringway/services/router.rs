//! The router: several services on one port. The path of the request picks one, which gets every callback of the
//! connection.

use std::any::Any;
use std::num::NonZeroU64;

use super::path::Pattern;
use crate::proto::{Chunk, CloseCode, Message};
use crate::protocol::{
    App, Carried, Closed, Context, Failure, Handle, News, Opening, Scope, Verdict,
};

/// Applications by path. Among several patterns that match, the most exact one wins. A path without a match gets 404.
///
/// Routing costs one indirect call per callback, and one allocation per connection if the session's type has a size.
#[derive(Default)]
pub struct Services {
    /// Patterns with the index of their service, the most exact first.
    routes: Vec<(Pattern, usize)>,
    services: Vec<Box<dyn Service>>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl Services {
    /// A router without services: every path gets 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an application under `pattern`.
    pub fn add<A>(&mut self, pattern: Pattern, app: A)
    where
        A: App + 'static,
        A::Session: 'static,
    {
        let index = self.services.len();
        self.services.push(Box::new(Hosted(app)));
        self.routes.push((pattern, index));
        self.routes
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.exactness()));
    }

    fn of<'a>(
        &'a mut self,
        session: &'a mut Routed,
    ) -> Option<(&'a mut dyn Service, &'a mut dyn Any)> {
        let Routed(Some((index, session))) = session else {
            return None;
        };
        Some((&mut *self.services[*index], &mut **session))
    }
}

/// The service of a connection, and that service's session.
#[derive(Debug, Default)]
pub struct Routed(Option<(usize, Box<dyn Any>)>);

impl App for Services {
    type Session = Routed;

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut Routed) -> Verdict {
        let path = opening.request().path();
        let mut routes = self.routes.iter();
        let found = routes.find_map(|(pattern, index)| {
            let places = pattern.matches(path)?;
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            Some((*index, places.into_iter().map(owned).collect()))
        });
        let Some((index, places)) = found else {
            return Verdict::refuse(404, "there is no service at this path");
        };
        opening.set_route(index, places);
        let service = &mut self.services[index];
        let kept = session.0.insert((index, service.session()));
        service.connect(opening, &mut *kept.1)
    }

    fn connected(&mut self, _scope: &mut Scope<'_>, _session: &mut Routed) {}

    fn failed(&mut self, scope: &mut Scope<'_>, session: Routed, failure: Failure) {
        if let Some((index, session)) = session.0 {
            self.services[index].failed(scope, session, failure);
        }
    }

    fn open(&mut self, context: &mut Context<'_>, session: &mut Routed) {
        if let Some((service, session)) = self.of(session) {
            service.open(context, session);
        }
    }

    fn message(&mut self, context: &mut Context<'_>, session: &mut Routed, message: Message<'_>) {
        if let Some((service, session)) = self.of(session) {
            service.message(context, session, message);
        }
    }

    fn chunk(&mut self, context: &mut Context<'_>, session: &mut Routed, chunk: Chunk<'_>) {
        if let Some((service, session)) = self.of(session) {
            service.chunk(context, session, chunk);
        }
    }

    fn ping(&mut self, context: &mut Context<'_>, session: &mut Routed, payload: &[u8]) {
        if let Some((service, session)) = self.of(session) {
            service.ping(context, session, payload);
        }
    }

    fn pong(&mut self, context: &mut Context<'_>, session: &mut Routed, payload: &[u8]) {
        if let Some((service, session)) = self.of(session) {
            service.pong(context, session, payload);
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, session: &mut Routed) {
        if let Some((service, session)) = self.of(session) {
            service.writable(context, session);
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, session: Routed, closed: Closed<'_>) {
        if let Some((index, session)) = session.0 {
            self.services[index].close(scope, session, closed);
        }
    }

    fn carried(&mut self, session: &mut Routed, carried: Carried<'_>) {
        if let Some((service, session)) = self.of(session) {
            service.carried(session, carried);
        }
    }

    fn parted(&mut self, session: &mut Routed, code: CloseCode, reason: &str) {
        if let Some((service, session)) = self.of(session) {
            service.parted(session, code, reason);
        }
    }

    fn missed(&mut self, context: &mut Context<'_>, session: &mut Routed, messages: NonZeroU64) {
        if let Some((service, session)) = self.of(session) {
            service.missed(context, session, messages);
        }
    }

    fn drain(&mut self, session: &mut Routed) -> bool {
        match self.of(session) {
            Some((service, session)) => service.drain(session),
            None => true,
        }
    }

    fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>) {
        for service in &mut self.services {
            service.event(worker, news);
        }
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        for service in &mut self.services {
            service.turn(worker);
        }
    }
}

/// An [`App`] behind a trait object, which hides the type of its session.
trait Service {
    fn session(&self) -> Box<dyn Any>;
    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut dyn Any) -> Verdict;
    fn failed(&mut self, scope: &mut Scope<'_>, session: Box<dyn Any>, failure: Failure);
    fn open(&mut self, context: &mut Context<'_>, session: &mut dyn Any);
    fn message(&mut self, context: &mut Context<'_>, session: &mut dyn Any, message: Message<'_>);
    fn chunk(&mut self, context: &mut Context<'_>, session: &mut dyn Any, chunk: Chunk<'_>);
    fn ping(&mut self, context: &mut Context<'_>, session: &mut dyn Any, payload: &[u8]);
    fn pong(&mut self, context: &mut Context<'_>, session: &mut dyn Any, payload: &[u8]);
    fn writable(&mut self, context: &mut Context<'_>, session: &mut dyn Any);
    fn close(&mut self, scope: &mut Scope<'_>, session: Box<dyn Any>, closed: Closed<'_>);
    fn carried(&mut self, session: &mut dyn Any, carried: Carried<'_>);
    fn parted(&mut self, session: &mut dyn Any, code: CloseCode, reason: &str);
    fn missed(&mut self, context: &mut Context<'_>, session: &mut dyn Any, messages: NonZeroU64);
    fn drain(&mut self, session: &mut dyn Any) -> bool;
    fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>);
    fn turn(&mut self, worker: &mut Handle<'_>);
}

struct Hosted<A>(A);

const OWN: &str = "the router hands each service sessions that it made";

impl<A: App> Service for Hosted<A>
where
    A::Session: 'static,
{
    fn session(&self) -> Box<dyn Any> {
        Box::new(A::Session::default())
    }

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut dyn Any) -> Verdict {
        self.0.connect(opening, session.downcast_mut().expect(OWN))
    }

    fn failed(&mut self, scope: &mut Scope<'_>, session: Box<dyn Any>, failure: Failure) {
        self.0
            .failed(scope, *session.downcast().expect(OWN), failure);
    }

    fn open(&mut self, context: &mut Context<'_>, session: &mut dyn Any) {
        self.0.open(context, session.downcast_mut().expect(OWN));
    }

    fn message(&mut self, context: &mut Context<'_>, session: &mut dyn Any, message: Message<'_>) {
        self.0
            .message(context, session.downcast_mut().expect(OWN), message);
    }

    fn chunk(&mut self, context: &mut Context<'_>, session: &mut dyn Any, chunk: Chunk<'_>) {
        self.0
            .chunk(context, session.downcast_mut().expect(OWN), chunk);
    }

    fn ping(&mut self, context: &mut Context<'_>, session: &mut dyn Any, payload: &[u8]) {
        self.0
            .ping(context, session.downcast_mut().expect(OWN), payload);
    }

    fn pong(&mut self, context: &mut Context<'_>, session: &mut dyn Any, payload: &[u8]) {
        self.0
            .pong(context, session.downcast_mut().expect(OWN), payload);
    }

    fn writable(&mut self, context: &mut Context<'_>, session: &mut dyn Any) {
        self.0.writable(context, session.downcast_mut().expect(OWN));
    }

    fn close(&mut self, scope: &mut Scope<'_>, session: Box<dyn Any>, closed: Closed<'_>) {
        self.0.close(scope, *session.downcast().expect(OWN), closed);
    }

    fn carried(&mut self, session: &mut dyn Any, carried: Carried<'_>) {
        self.0.carried(session.downcast_mut().expect(OWN), carried);
    }

    fn parted(&mut self, session: &mut dyn Any, code: CloseCode, reason: &str) {
        self.0
            .parted(session.downcast_mut().expect(OWN), code, reason);
    }

    fn missed(&mut self, context: &mut Context<'_>, session: &mut dyn Any, messages: NonZeroU64) {
        self.0
            .missed(context, session.downcast_mut().expect(OWN), messages);
    }

    fn drain(&mut self, session: &mut dyn Any) -> bool {
        self.0.drain(session.downcast_mut().expect(OWN))
    }

    fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>) {
        self.0.event(worker, news);
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        self.0.turn(worker);
    }
}
