//! The counters of the web process.

use super::sidecar::totals;

// In `/metrics` each has `web_` in front.
totals! {
    connections: Gauge, "Relayed connections that are open";
    accepted: Counter, "Relayed connections that were accepted";
    broken: Counter, "Relayed connections that ended with an error: a bad head, a timeout, a client that left";
    requests: Counter, "Requests";
    files: Counter, "Requests answered with a file or the list of a directory, or with 304, 412 or 416 in its place";
    proxied: Counter, "Requests passed on to the application";
    proxy_failed: Counter, "Requests answered 408, 502 or 504, because their body or the application stopped";
    proxy_cut: Counter, "Answers of the application that broke off, or stopped for too long";
    cgi: Counter, "Requests for a CGI program";
    cgi_failed: Counter, "Requests for a CGI program answered 400, 408, 411, 502, 503 or 504, because their body stopped, or the program could not run or failed";
    cgi_cut: Counter, "Answers of CGI programs that stopped for too long";
    unauthorized: Counter, "Requests answered 401";
    refused: Counter, "Requests answered 400, 404 or 405 because nothing is there for them";
    cpu_ns: Nanoseconds, "CPU time of the web process, user and system, without its threads that read files";
}
