//! The pages of a program whose users log in at a third party: `/` tries the WebSocket, `/login` sends to the provider, and `/callback` is
//! where users come back to, with a code that is redeemed for a token.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use ringway::services::Verifier;
use ringway::time::unix_now;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::provider::Client;
use super::{challenge, cookie, random};

/// Time for the provider to answer.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the pages know.
pub(crate) struct Pages {
    pub(crate) client: Client,
    /// The URL of the provider.
    pub(crate) issuer: String,
    pub(crate) verifier: Arc<Verifier>,
    /// The URL of the WebSocket.
    pub(crate) websocket: String,
}

const PAGE: &str = r#"<!DOCTYPE html>
<title>Login</title>
<a href="/login">Log in</a> <pre id="said"></pre>
<script>
const ws = new WebSocket("WEBSOCKET");
ws.onopen = () => ws.send("hello");
ws.onmessage = (message) => said.append(message.data);
</script>
"#;

pub(crate) fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/login", get(login))
        .route("/callback", get(callback))
        .with_state(Arc::new(pages))
}

async fn page(State(own): State<Arc<Pages>>) -> Html<String> {
    Html(PAGE.replace("WEBSOCKET", &own.websocket))
}

/// Sends the user to the provider. A cookie binds what comes back to this browser.
async fn login(State(own): State<Arc<Pages>>) -> Response {
    let (state, nonce, verifier) = (random(), random(), random() + &random());
    let (client, issuer) = (&own.client, &own.issuer);
    let place = format!(
        "{issuer}/authorize?response_type=code&scope=openid&client_id={}&redirect_uri={}&state={state}&nonce={nonce}\
         &code_challenge={}&code_challenge_method=S256",
        client.id,
        client.redirect_uri,
        challenge(&verifier)
    );
    let kept = format!(
        "login={state}.{nonce}.{verifier}; HttpOnly; SameSite=Lax; Path=/callback; Max-Age=600"
    );
    ([(header::SET_COOKIE, kept)], Redirect::to(&place)).into_response()
}

#[derive(Deserialize)]
struct Back {
    code: String,
    state: String,
}

/// The user comes back from the provider.
async fn callback(
    State(own): State<Arc<Pages>>,
    Query(back): Query<Back>,
    headers: HeaderMap,
) -> Result<Response, (StatusCode, String)> {
    let forbidden = |why: &str| (StatusCode::FORBIDDEN, why.to_owned());
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let kept = cookies.find_map(|cookies| cookie(cookies.as_bytes(), "login"));
    let kept: Vec<&str> = kept.unwrap_or_default().split('.').collect();
    let [state, nonce, verifier] = kept[..] else {
        return Err(forbidden("this browser has not asked to log in"));
    };
    if state != back.state {
        return Err(forbidden("this is the answer to another login"));
    }
    let redeemed = tokio::time::timeout(PATIENCE, redeem(&own, &back.code, verifier)).await;
    let token = redeemed
        .map_err(|_| (StatusCode::GATEWAY_TIMEOUT, "no answer".to_owned()))?
        .map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    let claims = own.verifier.claims(&token, unix_now());
    let claims = claims.map_err(|bad| forbidden(&bad.to_string()))?;
    if claims.get("nonce").and_then(|nonce| nonce.as_str()) != Some(nonce) {
        return Err(forbidden("this is the token of another login"));
    }
    let set = format!("token={token}; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600");
    Ok(([(header::SET_COOKIE, set)], Redirect::to("/")).into_response())
}

/// Redeems a code for a token.
async fn redeem(own: &Pages, code: &str, verifier: &str) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Tokens {
        id_token: String,
    }
    // Both come from the browser, and are to be values of a form.
    if !(code.bytes().chain(verifier.bytes())).all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("this is no code".into());
    }
    let place: Uri = format!("{}/token", own.issuer).parse()?;
    let authority = place
        .authority()
        .ok_or("the provider has no host")?
        .as_str();
    let client = &own.client;
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier={verifier}&redirect_uri={}&client_id={}&client_secret={}",
        client.redirect_uri, client.id, client.secret
    );
    let stream = TokioIo::new(TcpStream::connect(authority).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::post(place.path())
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form)?;
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        return Err(format!("the provider answered {}", answer.status()).into());
    }
    let body = Limited::new(answer.into_body(), 16 << 10).collect().await?;
    Ok(serde_json::from_slice::<Tokens>(&body.to_bytes())?.id_token)
}
