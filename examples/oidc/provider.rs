//! A small provider of logins in the manner of OpenID Connect: the authorization code flow with PKCE (RFC 7636), and no more.
//! It asks for a name and believes it. What it issues is signed with the client's secret (HS256).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Value, json};

type Refused = (StatusCode, &'static str);

/// How long a code is good, and a token.
const CODE_TIME: Duration = Duration::from_secs(60);
const TOKEN_TIME: Duration = Duration::from_secs(3600);
/// Codes at most that wait to be redeemed.
const CODES_MAX: usize = 1000;

const PAGE: &str = r#"<!DOCTYPE html>
<title>Provider</title>
<form method="get"><input name="user" placeholder="your name" pattern="[a-z]{1,20}"> <button>Log in</button></form>
<script>
for (const [name, value] of new URLSearchParams(location.search)) {
  const field = Object.assign(document.createElement("input"), { type: "hidden", name, value });
  document.forms[0].append(field);
}
</script>
"#;

/// A program that may send its users here.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// At least 32 bytes.
    pub(crate) secret: String,
    /// Where users are sent back to, and nowhere else.
    pub(crate) redirect_uri: String,
}

struct Provider {
    issuer: String,
    client: Client,
    codes: Mutex<HashMap<String, Grant>>,
}

/// What a code is good for.
struct Grant {
    user: String,
    nonce: String,
    challenge: String,
    ends: Instant,
}

/// `issuer`: the URL under which these routes are reached.
pub(crate) fn router(issuer: &str, client: Client) -> Router {
    let provider = Provider {
        issuer: issuer.to_owned(),
        client,
        codes: Mutex::default(),
    };
    Router::new()
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .with_state(Arc::new(provider))
}

#[derive(Deserialize)]
struct Asked {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    /// What the page adds.
    user: Option<String>,
}

/// A user comes from the client, and is sent back with a code.
async fn authorize(
    State(own): State<Arc<Provider>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refused> {
    let is_plain = |text: &String| {
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_good = asked.client_id == own.client.id
        && asked.redirect_uri == own.client.redirect_uri
        && asked.response_type == "code"
        && asked.code_challenge_method == "S256"
        && asked.code_challenge.len() == 43 // 32 bytes in Base64
        && is_plain(&asked.state)
        && is_plain(&asked.nonce);
    if !is_good {
        return Err((StatusCode::BAD_REQUEST, "this is no request of my client"));
    }
    let Some(user) = asked.user.filter(is_plain) else {
        return Ok(Html(PAGE).into_response());
    };
    let (code, now) = (super::random(), Instant::now());
    let back = format!("{}?code={code}&state={}", asked.redirect_uri, asked.state);
    let mut codes = own.codes.lock().unwrap_or_else(PoisonError::into_inner);
    codes.retain(|_, grant| grant.ends > now);
    if codes.len() >= CODES_MAX {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "too many logins at once"));
    }
    let grant = Grant {
        user,
        nonce: asked.nonce,
        challenge: asked.code_challenge,
        ends: now + CODE_TIME,
    };
    codes.insert(code, grant);
    Ok(Redirect::to(&back).into_response())
}

#[derive(Deserialize)]
struct Form {
    grant_type: String,
    client_id: String,
    client_secret: String,
    redirect_uri: String,
    code: String,
    code_verifier: String,
}

/// The client redeems a code, once.
async fn token(State(own): State<Arc<Provider>>, form: String) -> Result<Json<Value>, Refused> {
    const REFUSED: Refused = (StatusCode::BAD_REQUEST, "{\"error\":\"invalid_grant\"}");
    // A form is written as a query is.
    let uri: Uri = format!("/?{form}").parse().map_err(|_| REFUSED)?;
    let Query(form) = Query::<Form>::try_from_uri(&uri).map_err(|_| REFUSED)?;
    let is_client = form.client_id == own.client.id
        && form.client_secret == own.client.secret
        && form.redirect_uri == own.client.redirect_uri
        && form.grant_type == "authorization_code";
    if !is_client {
        return Err(REFUSED);
    }
    let mut codes = own.codes.lock().unwrap_or_else(PoisonError::into_inner);
    let grant = codes.remove(&form.code).ok_or(REFUSED)?;
    if grant.ends < Instant::now() || grant.challenge != super::challenge(&form.code_verifier) {
        return Err(REFUSED);
    }
    let claims = json!({
        "iss": own.issuer, "aud": own.client.id, "sub": grant.user, "nonce": grant.nonce,
        "exp": (ringway::time::unix_now() + TOKEN_TIME).as_secs(),
    });
    let key = EncodingKey::from_secret(own.client.secret.as_bytes());
    let unsigned = |_| (StatusCode::INTERNAL_SERVER_ERROR, "no token could be made");
    let token = key.and_then(|key| encode(&Header::default(), &claims, &key));
    let token = token.map_err(unsigned)?;
    Ok(Json(json!({"token_type": "Bearer", "id_token": token})))
}
