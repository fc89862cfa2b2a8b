//! The client that the Autobahn testsuite's fuzzing server tests, on `ringway-client`:
//! `scripts/conformance client --client target/debug/examples/client_testee --io epoll`
//!
//! It takes the arguments of `ringway testee`. `--io` changes nothing: I/O is tokio's.

use std::process::ExitCode;
use std::time::Duration;

use ringway_client::{ConnectError, Connector, Deflate, Direction, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut url, mut agent) = ("ws://127.0.0.1:9001".to_owned(), "client".to_owned());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "testee" => {}
            "--agent" => agent = arguments.next().unwrap_or(agent),
            "--io" => drop(arguments.next()),
            _ => url = argument,
        }
    }
    match run(&url, &agent).await {
        Ok(cases) => {
            println!("{cases} cases have run; the verdicts are in the server's report");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("client_testee: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str, agent: &str) -> Result<u32, Box<dyn std::error::Error>> {
    let (mut count, _) = Connector::new(format!("{url}/getCaseCount"))
        .connect()
        .await?;
    let message = count.recv().await?;
    let cases = message.and_then(|message| message.as_text()?.parse().ok());
    let cases: u32 = cases.ok_or("the server did not say how many cases there are")?;
    for case in 1..=cases {
        let resource = format!("{url}/runCase?case={case}&agent={agent}");
        echo(Connector::new(resource)).await?;
    }
    let report = format!("{url}/updateReports?agent={agent}");
    let (mut websocket, _) = Connector::new(report).connect().await?;
    while let Ok(Some(_)) = websocket.recv().await {}
    Ok(cases)
}

/// Echoes until the server closes. How that went is for its report to say.
async fn echo(connector: Connector) -> Result<(), ConnectError> {
    let connector = connector.configure(|options| {
        options.close_timeout = Duration::from_secs(10);
        options.deflate = Some(Deflate {
            bytes_min: 0,
            sends: Direction::FARTHEST,
            receives: Direction::FARTHEST,
            ..Deflate::default()
        });
    });
    let (mut websocket, _) = connector.connect().await?;
    let result: Result<(), Error> = async {
        while let Some(message) = websocket.recv().await? {
            websocket.send(message).await?;
        }
        Ok(())
    }
    .await;
    // A server that breaks the protocol on purpose gets an error; the next `recv` ends the connection.
    if result.is_err() {
        while let Ok(Some(_)) = websocket.recv().await {}
    }
    Ok(())
}
