// Boost.Beast, callback style, as its websocket_server_async example: async_read into a flat_buffer, async_write of it. Only
// what its documentation says for speed is changed: sockets with the concrete executor instead of any_io_executor, one
// thread (concurrency hint 1), auto_fragment off, so that a message is one frame. It writes once per message.
//
// --deflate: its permessage_deflate with its defaults: level 8, memory level 4, window 15.

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>

#include <memory>

#include "common.hpp"

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using tcp = asio::ip::tcp;
using Executor = asio::io_context::executor_type;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
using Stream = beast::basic_stream<tcp, Executor>;

namespace {

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(Stream &&stream, peer::Deflate deflate) : ws_(std::move(stream)), deflate_(deflate) {}

    void run() {
        ws_.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
        ws_.read_message_max(peer::message_bytes_max);
        ws_.auto_fragment(false);
        websocket::permessage_deflate deflate;
        deflate.server_enable = deflate_ != peer::Deflate::off;
        deflate.server_no_context_takeover = deflate_ == peer::Deflate::no_takeover;
        ws_.set_option(deflate);
        ws_.async_accept([self = shared_from_this()](beast::error_code error) {
            if (!error) self->read();
        });
    }

private:
    void read() {
        ws_.async_read(buffer_, [self = shared_from_this()](beast::error_code error, std::size_t) {
            // A client that resets its connection is how every run ends: not worth a line.
            if (!error) self->write();
        });
    }

    void write() {
        ws_.text(ws_.got_text());
        ws_.async_write(buffer_.data(), [self = shared_from_this()](beast::error_code error, std::size_t bytes) {
            if (error) return;
            self->buffer_.consume(bytes);
            self->read();
        });
    }

    websocket::stream<Stream> ws_;
    beast::flat_buffer buffer_;
    peer::Deflate deflate_;
};

void accept(Acceptor &acceptor, peer::Deflate deflate) {
    acceptor.async_accept([&acceptor, deflate](beast::error_code error, asio::basic_stream_socket<tcp, Executor> socket) {
        if (!error) {
            socket.set_option(tcp::no_delay(true), error);
            std::make_shared<Session>(Stream(std::move(socket)), deflate)->run();
        }
        accept(acceptor, deflate);
    });
}

}  // namespace

int main(int argc, char **argv) {
    const peer::Options options = peer::parse(argc, argv, peer::can_deflate);
    const int listener = peer::listen(options);
    asio::io_context context(1);
    Acceptor acceptor(context.get_executor());
    acceptor.assign(tcp::v4(), listener);
    accept(acceptor, options.deflate);
    peer::ready(peer::port_of(listener));
    context.run();
}
