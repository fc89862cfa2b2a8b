//! One connection before a run: does the server open a WebSocket here, or does it send its clients elsewhere?

use std::sync::Arc;

use super::options::LoadOptions;
use super::route::Route;
use super::run::request;
use super::tier::{Task, on};
use crate::io::{ConnectOptions, Error, Io};
use crate::proto::http::Limits;
use crate::proto::{CloseCode, Message, handshake};
use crate::worker::{
    App, Closed, Config, Context, Failure, Handle, OpeningRequest, Refused, Scope, Worker,
};

/// Asks for a WebSocket as the run's connections will, and closes it again. Returns the server's answer if that redirects.
///
/// # Errors
/// A sentence that says why no WebSocket opened.
pub fn ask(options: &LoadOptions) -> Result<Option<Box<Refused>>, String> {
    let uri = &options.target.uri;
    let request = request(options).map_err(|error| error.to_string())?;
    let first = First {
        options,
        request,
        route: Route::new(options.target.destinations()),
        place: 0,
        begun: false,
        ended: None,
    };
    let ended = on(options.io, first)?;
    ended.map_err(|why| format!("no connection to {uri} could be opened: {why}"))
}

type Answer = Result<Option<Box<Refused>>, String>;

#[derive(Debug)]
struct First<'a> {
    options: &'a LoadOptions,
    request: Arc<OpeningRequest>,
    route: Route,
    /// The index of the address that the connection is made to.
    place: usize,
    /// The connection has been begun, and has not ended.
    begun: bool,
    ended: Option<Answer>,
}

impl Task for First<'_> {
    type Output = Answer;

    fn run<I: Io>(self, io: I) -> Result<Answer, Error> {
        let config = Config {
            handshake_timeout: self.options.timeout,
            close_timeout: self.options.timeout,
            head_limits: Limits {
                head_bytes_max: self.options.max_head,
                headers_max: self.options.max_headers,
            },
            ..Config::default()
        };
        let mut worker = Worker::client(io, self, config);
        loop {
            worker.turn(Some(std::time::Duration::from_millis(10)))?;
            if worker.app().ended.is_some() && worker.connections() == 0 {
                return Ok(worker.app_mut().ended.take().unwrap_or(Ok(None)));
            }
        }
    }
}

impl First<'_> {
    /// The address failed: the next one is tried, if there is one.
    fn fail(&mut self, why: &dyn std::fmt::Display) {
        match self.route.failed(self.place, why) {
            Some(_) => self.begun = false,
            None => self.ended = Some(Err(format!("connect to {}", self.route.tried()))),
        }
    }
}

impl App for First<'_> {
    type Session = ();

    fn turn(&mut self, handle: &mut Handle<'_>) {
        if self.begun || self.ended.is_some() {
            return;
        }
        self.begun = true;
        self.place = self.route.first();
        let options = self.options;
        let to = options.target.destinations().get(self.place);
        let Some(to) = to else {
            self.ended = Some(Err("the server has no address".to_owned()));
            return;
        };
        let dial = ConnectOptions {
            from: options.sources.first().copied(),
            congestion: options.congestion.clone(),
            ..ConnectOptions::new(to.clone())
        };
        if let Err(errno) = handle.connect(&dial, &self.request, 0) {
            self.fail(&errno);
        }
    }

    fn connected(&mut self, _scope: &mut Scope<'_>, (): &mut ()) {
        self.route.connected(self.place);
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.ended = Some(Ok(None));
        // A server that breaks the connection off has answered all the same.
        let _ = context.close(CloseCode::NormalClosure, "");
    }

    fn message(&mut self, _context: &mut Context<'_>, (): &mut (), _message: Message<'_>) {}

    fn close(&mut self, _scope: &mut Scope<'_>, (): (), _closed: Closed<'_>) {}

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failure: Failure) {
        match failure {
            Failure::Refused(refused) if handshake::is_redirect(refused.status) => {
                self.ended = Some(Ok(Some(refused)));
            }
            Failure::Connect(errno) => self.fail(&errno),
            failure => self.ended = Some(Err(failure.to_string())),
        }
    }
}
