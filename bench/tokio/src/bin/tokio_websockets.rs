//! tokio-websockets, Stream and Sink. Defaults: frames of up to 4 MiB; a feed flushes when 8 KiB wait; tokio-util's read buffer
//! of 8 KiB, which grows.

use http::Uri;
use tokio_peers::{Plan, Role, block_on, drive, echo, plan, serve};
use tokio_websockets::{ClientBuilder, Message, ServerBuilder};

fn main() -> std::io::Result<()> {
    match tokio_peers::role() {
        Role::Server(server) => block_on(serve(server.listener, async |stream| {
            let (_, websocket) = ServerBuilder::new().accept(stream).await?;
            echo(websocket, |message: &Message| message.is_text() || message.is_binary()).await
        })),
        Role::Client(client) => {
            let message = |payload, is_text| match is_text {
                true => Message::text(payload),
                false => Message::binary(payload),
            };
            let uri: Uri = format!("ws://{}/", client.address).parse().expect("an address is part of a URI");
            block_on(plan::run(Plan::new(client, message), move |stream, plan| {
                let uri = uri.clone();
                async move {
                    let (websocket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await?;
                    let is_echo = |received: &Message, sent: &Message| {
                        received.is_text() == sent.is_text() && received.as_payload()[..] == sent.as_payload()[..]
                    };
                    drive(websocket, &plan, is_echo).await
                }
            }))
        }
    }
}
