//! tokio-tungstenite, Stream and Sink. Defaults: a read buffer of 128 KiB, cleared as a whole before each read; writes of up
//! to 128 KiB are joined until a flush. `--read-buffer` is for who knows the size of his messages.

use tokio_peers::{Plan, Role, block_on, drive, echo, plan, serve};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{accept_async_with_config, client_async_with_config};

fn config(read_buffer: Option<usize>) -> WebSocketConfig {
    let config = WebSocketConfig::default();
    read_buffer.map_or(config, |bytes| config.read_buffer_size(bytes))
}

fn main() -> std::io::Result<()> {
    match tokio_peers::role() {
        Role::Server(server) => {
            let config = config(server.read_buffer);
            block_on(serve(server.listener, move |stream| async move {
                let websocket = accept_async_with_config(stream, Some(config)).await?;
                echo(websocket, |message: &Message| message.is_text() || message.is_binary()).await
            }))
        }
        Role::Client(client) => {
            let message = |payload, is_text| match is_text {
                true => Message::Text(Utf8Bytes::try_from(payload).expect("ASCII")),
                false => Message::Binary(payload),
            };
            let (config, url) = (config(client.read_buffer), format!("ws://{}/", client.address));
            block_on(plan::run(Plan::new(client, message), move |stream, plan| {
                let url = url.clone();
                async move {
                    let (websocket, _) = client_async_with_config(url, stream, Some(config)).await?;
                    drive(websocket, &plan, PartialEq::eq).await
                }
            }))
        }
    }
}
