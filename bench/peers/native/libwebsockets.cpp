// libwebsockets on libuv (its own loop uses poll), with the settings of its minimal-ws-server-echo example: 32 KiB of
// service buffer, UTF-8 validation. Its receive callback hands out at most that buffer; the parts of a message are put
// together, so that a message comes back as one frame. Replies are written as its manual says: only in the writeable callback, and
// there until lws_send_pipe_choked. It sets TCP_NODELAY itself.

#include <libwebsockets.h>

#include <csignal>
#include <deque>
#include <vector>

#include "common.hpp"

namespace {

constexpr unsigned service_buffer_bytes = 32 * 1024;

// A message behind the room for a frame header that lws_write asks for.
struct Message {
    std::vector<unsigned char> bytes = std::vector<unsigned char>(LWS_PRE);
    bool binary = false;
};

struct Session {
    Message partial;
    std::deque<Message> replies;
};

peer::Options options;

// Takes a part of a message; false when it grows too large.
bool receive(lws *wsi, Session &session, const unsigned char *part, std::size_t size) {
    Message &message = session.partial;
    if (message.bytes.size() + size > LWS_PRE + peer::message_bytes_max) return false;
    message.bytes.insert(message.bytes.end(), part, part + size);
    if (lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0) {
        message.binary = lws_frame_is_binary(wsi);
        session.replies.push_back(std::move(message));
        message = Message();
        lws_callback_on_writable(wsi);
    }
    return true;
}

// Writes replies as long as the socket takes them; false when the connection is broken.
bool write(lws *wsi, Session &session) {
    do {
        if (session.replies.empty()) return true;
        Message &reply = session.replies.front();
        const std::size_t size = reply.bytes.size() - LWS_PRE;
        const auto kind = reply.binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
        if (lws_write(wsi, reply.bytes.data() + LWS_PRE, size, kind) < static_cast<int>(size)) return false;
        session.replies.pop_front();
    } while (!lws_send_pipe_choked(wsi));
    if (!session.replies.empty()) lws_callback_on_writable(wsi);
    return true;
}

int callback(lws *wsi, lws_callback_reasons reason, void *user, void *in, size_t size) {
    auto **session = static_cast<Session **>(user);
    switch (reason) {
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        // Here `in` is the accepted descriptor.
        peer::set_congestion(static_cast<int>(reinterpret_cast<intptr_t>(in)), options);
        return 0;
    case LWS_CALLBACK_ESTABLISHED:
        *session = new Session;
        return 0;
    case LWS_CALLBACK_CLOSED:
        delete *session;
        *session = nullptr;
        return 0;
    case LWS_CALLBACK_RECEIVE:
        return receive(wsi, **session, static_cast<const unsigned char *>(in), size) ? 0 : -1;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return write(wsi, **session) ? 0 : -1;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, size);
    }
}

}  // namespace

int main(int argc, char **argv) {
    options = peer::parse(argc, argv, peer::plain);
    // Whoever asks for no subprotocol gets the first one.
    const lws_protocols protocols[] = {{"echo", callback, sizeof(Session *), 0, 0, nullptr, 0}, {}};
    lws_set_log_level(LLL_ERR, nullptr);
    lws_context_creation_info info{};
    info.port = options.port;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.pt_serv_buf_size = service_buffer_bytes;
    info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_DISABLE_IPV6;
    info.vhost_name = "echo";
    lws_context *context = lws_create_context(&info);
    if (!context) peer::fail("libwebsockets cannot be set up on port " + std::to_string(options.port));
    const int port = lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "echo"));
    if (port <= 0) peer::fail("libwebsockets does not listen");
    // libwebsockets has libuv catch the signal, and then neither ends nor serves.
    std::signal(SIGTERM, SIG_DFL);
    peer::ready(static_cast<unsigned short>(port));
    while (lws_service(context, 0) >= 0) {
    }
}
