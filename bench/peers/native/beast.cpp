// Boost.Beast, callback style, as its websocket_server_async example: async_read into a flat_buffer, async_write of it. Only
// what its documentation says for speed is changed: sockets with the concrete executor instead of any_io_executor, one
// thread (concurrency hint 1), auto_fragment off, so that a message is one frame. It writes once per message.
//
// --tls: beast::ssl_stream below the WebSocket, as in its websocket_server_async_ssl example, with the contexts' default workarounds;
// TLS 1.3, where that example stops at 1.2. Sessions are in tickets, as OpenSSL does by itself.
// --deflate: its permessage_deflate with its defaults: level 8, memory level 4, window 15.

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include <chrono>
#include <memory>
#include <type_traits>

#include "common.hpp"

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace ssl = asio::ssl;
namespace websocket = beast::websocket;
using tcp = asio::ip::tcp;
using Executor = asio::io_context::executor_type;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
using Plain = beast::basic_stream<tcp, Executor>;
using Secure = beast::ssl_stream<Plain>;

namespace {

template <typename Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
public:
    Session(Stream &&stream, peer::Deflate deflate) : ws_(std::move(stream)), deflate_(deflate) {}

    void run() {
        if constexpr (std::is_same_v<Stream, Secure>) {
            beast::get_lowest_layer(ws_).expires_after(std::chrono::seconds(30));
            ws_.next_layer().async_handshake(ssl::stream_base::server, [self = this->shared_from_this()](beast::error_code error) {
                if (error) return;
                // From here on the WebSocket has timeouts of its own.
                beast::get_lowest_layer(self->ws_).expires_never();
                self->open();
            });
        } else {
            open();
        }
    }

private:
    void open() {
        ws_.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
        ws_.read_message_max(peer::message_bytes_max);
        ws_.auto_fragment(false);
        websocket::permessage_deflate deflate;
        deflate.server_enable = deflate_ != peer::Deflate::off;
        deflate.server_no_context_takeover = deflate_ == peer::Deflate::no_takeover;
        ws_.set_option(deflate);
        ws_.async_accept([self = this->shared_from_this()](beast::error_code error) {
            if (!error) self->read();
        });
    }

    void read() {
        ws_.async_read(buffer_, [self = this->shared_from_this()](beast::error_code error, std::size_t) {
            // A client that resets its connection is how every run ends: not worth a line.
            if (!error) self->write();
        });
    }

    void write() {
        ws_.text(ws_.got_text());
        ws_.async_write(buffer_.data(), [self = this->shared_from_this()](beast::error_code error, std::size_t bytes) {
            if (error) return;
            self->buffer_.consume(bytes);
            self->read();
        });
    }

    websocket::stream<Stream> ws_;
    beast::flat_buffer buffer_;
    peer::Deflate deflate_;
};

// `context` is null without TLS.
void accept(Acceptor &acceptor, ssl::context *context, peer::Deflate deflate) {
    acceptor.async_accept([&acceptor, context, deflate](beast::error_code error, asio::basic_stream_socket<tcp, Executor> socket) {
        if (!error) {
            socket.set_option(tcp::no_delay(true), error);
            Plain plain(std::move(socket));
            if (context) {
                std::make_shared<Session<Secure>>(Secure(std::move(plain), *context), deflate)->run();
            } else {
                std::make_shared<Session<Plain>>(std::move(plain), deflate)->run();
            }
        }
        accept(acceptor, context, deflate);
    });
}

void load(ssl::context &context, const peer::Options &options) {
    beast::error_code error;
    context.set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
    context.use_certificate_chain_file(options.certificate, error);
    if (error) peer::fail("--tls " + options.certificate + ": " + error.message());
    context.use_private_key_file(options.key, ssl::context::pem, error);
    if (error) peer::fail("--tls " + options.key + ": " + error.message());
}

}  // namespace

int main(int argc, char **argv) {
    const peer::Options options = peer::parse(argc, argv, peer::can_deflate | peer::can_tls);
    const int listener = peer::listen(options);
    asio::io_context context(1);
    Acceptor acceptor(context.get_executor());
    acceptor.assign(tcp::v4(), listener);
    ssl::context secure(ssl::context::tls_server);
    if (options.tls()) load(secure, options);
    accept(acceptor, options.tls() ? &secure : nullptr, options.deflate);
    peer::ready(peer::port_of(listener));
    context.run();
}
