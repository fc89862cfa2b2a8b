//! Where tokens are looked up: a file, a directory, an HTTP API, Redis, or the token itself.
//!
//! Owns: what a token may be in each of them, so that none escapes its directory. Never: runs on a worker's thread.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use redis::aio::MultiplexedConnection;
use ringway::services::Verifier;
use ringway::services::gateway::{Place, tokens};

use super::blocking::{FILES, blocking};
use super::fetch;

/// Files of a directory of token files, at most.
const FILES_MAX: usize = 1000;

/// Bytes of a file that names one target, at most.
const NAME_BYTES_MAX: u64 = 4 << 10;

/// What a token is not written with in an address: everything but letters, digits and the marks of RFC 3986 §2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where tokens are looked up.
pub(super) enum Source {
    /// A token file, or a directory of such files.
    File(TokenFile),
    /// A directory in which a file has the token's name.
    Names(PathBuf),
    /// A directory in which a socket has the token's name.
    Sockets(PathBuf),
    /// An address with `%s` in it.
    Url {
        address: String,
        tls: Option<Arc<rustls::ClientConfig>>,
    },
    /// The token says it itself, signed.
    Jwt(Vec<Verifier>),
    Redis(Box<RedisSource>),
}

/// Why there is no target.
#[derive(Debug)]
pub(super) enum Miss {
    /// The token is not known.
    Unknown,
    /// Nobody knows whether it is: the log says why.
    Unanswered(String),
}

impl From<std::io::Error> for Miss {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Unknown,
            _ => Self::Unanswered(error.to_string()),
        }
    }
}

impl Source {
    /// Finds the target of a token.
    pub(super) async fn find(self: &Arc<Self>, token: String) -> Result<Place, Miss> {
        match &**self {
            Self::Url { address, tls } => find_by_http(address, tls.as_ref(), &token).await,
            Self::Redis(redis) => redis.find(&token).await,
            Self::Jwt(keys) => find_in_token(keys, &token),
            Self::File(_) | Self::Names(_) | Self::Sockets(_) => {
                let source = Arc::clone(self);
                let found = blocking(&FILES, move || source.find_on_disk(&token)).await;
                found.ok_or_else(|| Miss::Unanswered("the search has failed".to_owned()))?
            }
        }
    }

    fn find_on_disk(&self, token: &str) -> Result<Place, Miss> {
        match self {
            Self::File(file) => {
                let table = file.table()?;
                table.targets.get(token).cloned().ok_or(Miss::Unknown)
            }
            Self::Names(directory) => {
                let path = directory.join(file_name(token).ok_or(Miss::Unknown)?);
                let text = read_file(&path, NAME_BYTES_MAX)?;
                Place::parse(text.trim()).ok_or_else(|| {
                    Miss::Unanswered(format!(
                        "{}: this names no target: write host:port, [::1]:port or unix:/path",
                        path.display()
                    ))
                })
            }
            Self::Sockets(directory) => {
                let path = directory.join(file_name(token).ok_or(Miss::Unknown)?);
                match fs::symlink_metadata(&path)?.file_type().is_socket() {
                    true => Ok(Place::Unix(path)),
                    false => Err(Miss::Unknown),
                }
            }
            Self::Url { .. } | Self::Jwt(_) | Self::Redis(_) => Err(Miss::Unknown),
        }
    }
}

/// A token that is the name of a file in a directory, and leads nowhere else.
fn file_name(token: &str) -> Option<&str> {
    let is_name =
        !token.starts_with('.') && (1..=255).contains(&token.len()) && !token.contains(['/', '\0']);
    is_name.then_some(token)
}

/// Reads a file, if it is one: a pipe would hold the reader up.
fn read_file(path: &Path, bytes_max: u64) -> Result<String, Miss> {
    let mut options = OpenOptions::new();
    let file: File = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Miss::Unknown);
    }
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    match text.len() as u64 > bytes_max {
        true => Err(Miss::Unanswered(format!(
            "{} has more than {bytes_max} bytes",
            path.display()
        ))),
        false => Ok(text),
    }
}

/// A token file, read again when it has changed.
pub(super) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(Vec<Stamp>, Arc<tokens::Table>)>>,
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            path,
            inode: metadata.ino(),
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::default(),
        }
    }

    /// What the file says now.
    pub(super) fn table(&self) -> Result<Arc<tokens::Table>, Miss> {
        let stamps = self.stamps()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, table)) = &*read
            && *then == stamps
        {
            return Ok(Arc::clone(table));
        }
        let mut whole = tokens::Table::default();
        for Stamp { path, .. } in &stamps {
            let text = match read_file(path, tokens::FILE_BYTES_MAX) {
                Ok(text) => text,
                // The other files of a directory count all the same.
                Err(_) if *path != self.path => {
                    tracing::warn!("{}: this is no file of tokens", path.display());
                    continue;
                }
                Err(miss) => return Err(miss),
            };
            let table = tokens::read(&text);
            for (line, why) in &table.faults {
                tracing::warn!("{}: line {line} {why}", path.display());
            }
            if let more @ 1.. = table.faulty - table.faults.len() {
                tracing::warn!("{}: {more} further lines say nothing", path.display());
            }
            for (token, place) in table.targets {
                whole.targets.entry(token).or_insert(place);
            }
        }
        let table = Arc::new(whole);
        *read = Some((stamps, Arc::clone(&table)));
        Ok(table)
    }

    /// The file, or the files of the directory by name.
    fn stamps(&self) -> Result<Vec<Stamp>, Miss> {
        let gone =
            |error: std::io::Error| Miss::Unanswered(format!("{}: {error}", self.path.display()));
        let metadata = fs::metadata(&self.path).map_err(gone)?;
        if !metadata.is_dir() {
            return Ok(vec![Stamp::new(self.path.clone(), &metadata)]);
        }
        let mut stamps = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(gone)? {
            if stamps.len() == FILES_MAX {
                return Err(Miss::Unanswered(format!(
                    "{} has more than {FILES_MAX} files: put their lines into fewer",
                    self.path.display()
                )));
            }
            let path = entry?.path();
            let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
            if path.file_name().is_some_and(is_hidden) {
                continue;
            }
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
            {
                stamps.push(Stamp::new(path, &metadata));
            }
        }
        stamps.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stamps)
    }
}

/// Reads what an API or a database says of a token: `host:port`, or JSON with `host` and perhaps `port`.
fn read_answer(text: &str) -> Option<Place> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Place::parse(text);
    }
    let value: serde_json::Map<_, _> = serde_json::from_str(text).ok()?;
    place_of(&value)
}

/// The target that `host` and `port` name.
fn place_of(value: &serde_json::Map<String, serde_json::Value>) -> Option<Place> {
    use serde_json::Value;
    let host = value.get("host")?.as_str()?;
    match value.get("port") {
        None | Some(Value::Null) => Place::parse(host),
        Some(Value::String(port)) => Place::tcp(host, port),
        Some(port) => Place::tcp(host, &port.as_u64()?.to_string()),
    }
    .or_else(|| v6(host, value.get("port")))
}

/// An IPv6 address without brackets: in JSON its end is no question.
fn v6(host: &str, port: Option<&serde_json::Value>) -> Option<Place> {
    let port = match port? {
        serde_json::Value::String(port) => port.clone(),
        port => port.as_u64()?.to_string(),
    };
    Place::tcp(&format!("[{host}]"), &port)
}

async fn find_by_http(
    address: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
    token: &str,
) -> Result<Place, Miss> {
    if matches!(token, "." | "..") {
        // They would lead out of their place in the path.
        return Err(Miss::Unknown);
    }
    let token = utf8_percent_encode(token, ESCAPED).to_string();
    let answer = fetch::get(&address.replace("%s", &token), tls).await;
    let (status, text) = answer.map_err(|fault| Miss::Unanswered(fault.to_string()))?;
    match status {
        200 if text.trim().is_empty() => Err(Miss::Unknown),
        200 => read_answer(&text)
            .ok_or_else(|| Miss::Unanswered("its answer names no target".to_owned())),
        204 | 400 | 401 | 403 | 404 | 410 => Err(Miss::Unknown),
        status => Err(Miss::Unanswered(format!("it answered {status}"))),
    }
}

fn find_in_token(keys: &[Verifier], token: &str) -> Result<Place, Miss> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let mut claims = keys.iter().filter_map(|key| key.claims(token, now).ok());
    claims
        .next()
        .and_then(|claims| place_of(&claims))
        .ok_or(Miss::Unknown)
}

/// Targets in Redis.
pub(super) struct RedisSource {
    client: redis::Client,
    namespace: Option<String>,
    /// Shared by all lookups, and made anew after a fault.
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

impl RedisSource {
    pub(super) fn new(url: &str, namespace: Option<String>) -> Result<Self, redis::RedisError> {
        Ok(Self {
            client: redis::Client::open(url)?,
            namespace,
            connection: tokio::sync::Mutex::default(),
        })
    }

    async fn find(&self, token: &str) -> Result<Place, Miss> {
        let key = match &self.namespace {
            Some(namespace) => format!("{namespace}:{token}"),
            None => token.to_owned(),
        };
        let failed = |error: redis::RedisError| Miss::Unanswered(error.to_string());
        // A connection that was kept may have ended since.
        let value = match self.get(&key).await {
            Ok(value) => value,
            Err(_) => {
                *self.connection.lock().await = None;
                self.get(&key).await.map_err(failed)?
            }
        };
        let text = value.ok_or(Miss::Unknown)?;
        read_answer(&text)
            .ok_or_else(|| Miss::Unanswered("the value of its key names no target".to_owned()))
    }

    async fn get(&self, key: &str) -> redis::RedisResult<Option<String>> {
        let mut connection = {
            let mut kept = self.connection.lock().await;
            match &*kept {
                Some(connection) => connection.clone(),
                None => {
                    let new = self.client.get_multiplexed_async_connection().await?;
                    kept.insert(new).clone()
                }
            }
        };
        redis::cmd("GET")
            .arg(key)
            .query_async(&mut connection)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_name_of_a_file_or_none() {
        assert_eq!(file_name("alice-1.vnc"), Some("alice-1.vnc"));
        for token in [
            "",
            ".",
            "..",
            ".hidden",
            "../x",
            "a/b",
            "/etc/passwd",
            "a\0b",
        ] {
            assert_eq!(file_name(token), None, "{token:?}");
        }
        assert_eq!(file_name(&"x".repeat(256)), None);
    }

    #[test]
    fn answers_are_plain_or_json() {
        let read = |text| read_answer(text).map(|place| place.to_string());
        for (text, place) in [
            ("127.0.0.1:5900\n", "127.0.0.1:5900"),
            ("{\"host\":\"a.example\",\"port\":5901}", "a.example:5901"),
            (
                "{\"host\":\"a.example\",\"port\":\"5901\"}",
                "a.example:5901",
            ),
            ("{\"host\":\"::1\",\"port\":5901}", "[::1]:5901"),
            ("{\"host\":\"h:1\"}", "h:1"),
            ("unix:/run/a", "unix:/run/a"),
        ] {
            assert_eq!(read(text).as_deref(), Some(place), "{text}");
        }
        for text in [
            "",
            "x",
            "{}",
            "{\"host\":1,\"port\":1}",
            "{\"host\":\"h\"}",
            "{\"host\":\"h\",\"port\":0}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
