//! ringway-client, on tokio. Defaults: a read buffer of 8 KiB that doubles up to 64 KiB while reads fill it, and none while it
//! waits; a send waits while 128 KiB wait.

use ringway_client::{Connector, Message, Text, accept};
use tokio_peers::{Plan, Role, block_on, drive, echo, plan, serve};

fn main() -> std::io::Result<()> {
    match tokio_peers::role() {
        Role::Server(server) => block_on(serve(server.listener, async |stream| {
            let websocket = accept(stream).await?;
            echo(websocket, |_| true).await
        })),
        Role::Client(client) => {
            let message = |payload, is_text| match is_text {
                true => Message::Text(Text::try_from(payload).expect("ASCII")),
                false => Message::Binary(payload),
            };
            let connector = Connector::new(format!("ws://{}/", client.address));
            block_on(plan::run(Plan::new(client, message), move |stream, plan| {
                let connector = connector.clone();
                async move {
                    let (websocket, _) = connector.handshake(stream).await?;
                    drive(websocket, &plan, PartialEq::eq).await
                }
            }))
        }
    }
}
