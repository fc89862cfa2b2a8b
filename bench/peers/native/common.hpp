// What the C++ peers share: one command line, one kind of listener, one ready line. The same as src/lib.rs is for Rust.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace peer {

// Larger messages are refused, by every peer.
constexpr std::size_t message_bytes_max = 100u << 20;
// Room for every connection of a run at once; the kernel clips it to somaxconn.
constexpr int backlog = 8192;

// What a peer can do besides an echo on one thread; an option that is not among them is refused.
enum Ability { plain = 0, can_broadcast = 1, can_workers = 2, can_deflate = 4, can_tls = 8 };

// permessage-deflate: off, or on for clients that offer it. With takeover a message may refer to those before it.
enum class Deflate { off, takeover, no_takeover };

struct Options {
    unsigned short port = 0;
    std::string congestion;
    int workers = 1;
    bool broadcast = false;
    Deflate deflate = Deflate::off;
    // PEM files of a chain and its key: TLS 1.3 on every connection. Empty: none.
    std::string certificate;
    std::string key;

    bool tls() const { return !certificate.empty(); }
};

[[noreturn]] inline void fail(const std::string &message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(2);
}

[[noreturn]] inline void fail_errno(const std::string &what) { fail(what + ": " + std::strerror(errno)); }

inline long number(const char *name, const char *value, long min, long max) {
    char *end = nullptr;
    long parsed = std::strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || parsed < min || parsed > max) {
        fail(std::string(name) + " " + value + ": expected a number from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return parsed;
}

inline Deflate deflate(const std::string &value) {
    if (value == "takeover") return Deflate::takeover;
    if (value == "no-takeover") return Deflate::no_takeover;
    fail("--deflate " + value + ": expected takeover or no-takeover");
}

inline Options parse(int argc, char **argv, int abilities) {
    Options options;
    for (int i = 1; i < argc; i++) {
        const std::string name = argv[i];
        if (name == "--broadcast" && (abilities & can_broadcast)) {
            options.broadcast = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : nullptr;
        if (value && name == "--port") {
            options.port = static_cast<unsigned short>(number("--port", value, 0, 65535));
        } else if (value && name == "--congestion") {
            options.congestion = value;
        } else if (value && name == "--workers" && (abilities & can_workers)) {
            options.workers = static_cast<int>(number("--workers", value, 1, 1024));
        } else if (value && name == "--deflate" && (abilities & can_deflate)) {
            options.deflate = deflate(value);
        } else if (value && name == "--tls" && (abilities & can_tls) && i + 1 < argc) {
            options.certificate = value;
            options.key = argv[++i];
        } else {
            fail("unknown option or no value: " + name + "\nUsage: --port N [--congestion NAME]" +
                 (abilities & can_workers ? " [--workers N]" : "") + (abilities & can_broadcast ? " [--broadcast]" : "") +
                 (abilities & can_deflate ? " [--deflate takeover|no-takeover]" : "") +
                 (abilities & can_tls ? " [--tls CERTIFICATE KEY]" : ""));
        }
    }
    return options;
}

inline void set_congestion(int fd, const Options &options) {
    const std::string &name = options.congestion;
    if (!name.empty() && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size()))) {
        fail_errno("--congestion " + name);
    }
}

// Options that a connection inherits from the listener that accepted it.
inline void inherit(int listener, const Options &options) {
    const int on = 1;
    if (setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail_errno("TCP_NODELAY");
    set_congestion(listener, options);
}

inline unsigned short port_of(int listener) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    if (getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size)) fail_errno("getsockname");
    return ntohs(address.sin_port);
}

inline void ready(unsigned short port) {
    std::printf("listening 127.0.0.1:%u\n", port);
    std::fflush(stdout);
}

// A listener on loopback whose options its connections inherit.
inline int listen(const Options &options) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_errno("socket");
    const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) fail_errno("SO_REUSEADDR");
    inherit(fd, options);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address)) fail_errno("bind");
    if (::listen(fd, backlog)) fail_errno("listen");
    return fd;
}

}  // namespace peer
