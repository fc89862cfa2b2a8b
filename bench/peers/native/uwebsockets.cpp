// uWebSockets with the settings of its own EchoServer example: compression off unless asked for, 100 MiB of message and of backpressure,
// µSockets on epoll and OpenSSL. µSockets sets TCP_NODELAY itself; all replies of one read leave in one write (corking).
//
// --workers N: N threads with a loop each, on SO_REUSEPORT, as in EchoServerThreaded.
// --deflate takeover: the compressor of 4 KiB per connection that its EchoServer example has; --deflate no-takeover: the
// shared one. This version makes every compressor per connection one of 3 KiB (9 bits), whichever was asked for. On zlib; its build option for libdeflate is off, as it is by default.
// --tls: its SSLApp with the defaults of µSockets: TLS 1.2 and 1.3, sessions in tickets of OpenSSL.
// --broadcast: every message is published to a topic that every connection has subscribed to.

#include <App.h>

#include <atomic>
#include <thread>
#include <vector>

#include "common.hpp"

namespace {

constexpr const char *topic = "all";
// Their default: no connection of a run is silent for so long.
constexpr unsigned short idle_timeout_s = 120;

struct PerSocketData {};

uWS::CompressOptions compression_of(peer::Deflate deflate) {
    switch (deflate) {
    case peer::Deflate::takeover: return uWS::CompressOptions(uWS::DEDICATED_COMPRESSOR_4KB | uWS::DEDICATED_DECOMPRESSOR);
    case peer::Deflate::no_takeover: return uWS::CompressOptions(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR);
    case peer::Deflate::off: break;
    }
    return uWS::DISABLED;
}

// One loop; `port` 0 takes a free one. `listening` hears the port.
template <bool SSL, typename F>
void serve(const peer::Options &options, unsigned short port, F &&listening) {
    uWS::SocketContextOptions tls;
    tls.cert_file_name = options.certificate.c_str();
    tls.key_file_name = options.key.c_str();
    uWS::TemplatedApp<SSL> app(SSL ? tls : uWS::SocketContextOptions{});
    if (app.constructorFailed()) peer::fail("--tls " + options.certificate + " " + options.key + ": cannot be used");
    typename uWS::TemplatedApp<SSL>::template WebSocketBehavior<PerSocketData> behavior;
    behavior.compression = compression_of(options.deflate);
    behavior.maxPayloadLength = peer::message_bytes_max;
    behavior.maxBackpressure = peer::message_bytes_max;
    behavior.idleTimeout = idle_timeout_s;
    if (options.broadcast) {
        behavior.open = [](auto *ws) { ws->subscribe(topic); };
        behavior.message = [&app](auto *, std::string_view message, uWS::OpCode opcode) { app.publish(topic, message, opcode); };
    } else {
        const bool compress = options.deflate != peer::Deflate::off;
        behavior.message = [compress](auto *ws, std::string_view message, uWS::OpCode opcode) { ws->send(message, opcode, compress); };
    }
    app.template ws<PerSocketData>("/*", std::move(behavior));
    const int sharing = options.workers > 1 ? LIBUS_LISTEN_DEFAULT : LIBUS_LISTEN_EXCLUSIVE_PORT;
    app.listen("127.0.0.1", port, sharing, [&](us_listen_socket_t *listener) {
        if (!listener) peer::fail("cannot listen on port " + std::to_string(port));
        const int fd = us_poll_fd(reinterpret_cast<us_poll_t *>(listener));
        peer::inherit(fd, options);
        // µSockets asks for a backlog of 512.
        if (::listen(fd, peer::backlog)) peer::fail_errno("listen");
        listening(peer::port_of(fd));
    });
    app.run();
}

// A free port for listeners that share it. µSockets shares only a port that it is told; the reservation is bound and never
// listens, so it gets no connection.
unsigned short reserve_shared_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) peer::fail_errno("SO_REUSEPORT");
    if (bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address)) peer::fail_errno("bind");
    return peer::port_of(fd);
}

// As many loops as there are workers.
template <bool SSL>
void serve_all(const peer::Options &options) {
    std::vector<std::thread> others;
    const unsigned short wanted = options.workers > 1 && options.port == 0 ? reserve_shared_port() : options.port;
    serve<SSL>(options, wanted, [&](unsigned short port) {
        // The last of all loops to listen says so.
        std::atomic<int> missing{options.workers - 1};
        for (int i = 1; i < options.workers; i++) {
            others.emplace_back([&options, &missing, port] {
                serve<SSL>(options, port, [&missing](unsigned short) {
                    missing.fetch_sub(1);
                    missing.notify_one();
                });
            });
        }
        for (int left; (left = missing.load()) > 0;) missing.wait(left);
        peer::ready(port);
    });
}

}  // namespace

int main(int argc, char **argv) {
    const peer::Options options = peer::parse(argc, argv, peer::can_broadcast | peer::can_workers | peer::can_deflate | peer::can_tls);
    if (options.broadcast && options.workers > 1) peer::fail("--broadcast reaches one loop only: not with --workers");
    options.tls() ? serve_all<true>(options) : serve_all<false>(options);
    return 1;
}
