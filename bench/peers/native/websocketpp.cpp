// websocketpp on Boost.Asio, without TLS, as its echo_server example, with what its manual says for one thread: no
// locks (concurrency::none, no strands), no logs. A message that was received is sent as it is; what is queued while a
// write is under way leaves with the next one, together.
//
// --deflate: its permessage_deflate with its defaults: level and memory level of zlib, window 15. It compresses an answer because
// the message that it sends back came compressed.

#include <websocketpp/concurrency/none.hpp>
#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/extensions/permessage_deflate/enabled.hpp>
#include <websocketpp/logger/stub.hpp>
#include <websocketpp/server.hpp>

#include "common.hpp"

namespace {

struct Config : websocketpp::config::asio {
    using type = Config;
    using base = websocketpp::config::asio;
    using concurrency_type = websocketpp::concurrency::none;
    using alog_type = websocketpp::log::stub;
    using elog_type = websocketpp::log::stub;

    struct transport_config : base::transport_config {
        using concurrency_type = type::concurrency_type;
        using alog_type = type::alog_type;
        using elog_type = type::elog_type;
        static constexpr bool enable_multithreading = false;
    };
    using transport_type = websocketpp::transport::asio::endpoint<transport_config>;

    static constexpr std::size_t max_message_size = peer::message_bytes_max;
};

struct WithDeflate : Config {
    struct permessage_deflate_config {};
    using permessage_deflate_type = websocketpp::extensions::permessage_deflate::enabled<permessage_deflate_config>;
};

using Tcp = websocketpp::lib::asio::ip::tcp;

template <typename C>
int serve(const peer::Options &options) {
    using Server = websocketpp::server<C>;
    Server server;
    server.init_asio();
    server.set_reuse_addr(true);
    server.set_listen_backlog(peer::backlog);
    server.set_tcp_pre_bind_handler([&](websocketpp::lib::shared_ptr<Tcp::acceptor> acceptor) {
        peer::inherit(acceptor->native_handle(), options);
        return websocketpp::lib::error_code();
    });
    server.set_message_handler([&server](websocketpp::connection_hdl connection, typename Server::message_ptr message) {
        websocketpp::lib::error_code error;
        // A client that resets its connection is how every run ends: not worth a line.
        server.send(connection, message, error);
    });
    server.listen(Tcp::endpoint(websocketpp::lib::asio::ip::address_v4::loopback(), options.port));
    server.start_accept();
    websocketpp::lib::asio::error_code error;
    peer::ready(server.get_local_endpoint(error).port());
    server.run();
    return 1;
}

}  // namespace

int main(int argc, char **argv) {
    const peer::Options options = peer::parse(argc, argv, peer::can_deflate);
    // Whether there is takeover is the client's choice: the server has no say in it here.
    return options.deflate == peer::Deflate::off ? serve<Config>(options) : serve<WithDeflate>(options);
}
