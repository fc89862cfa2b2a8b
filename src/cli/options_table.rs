//! Holds `docs/options.md` equal to the definitions of the options. `RINGWAY_WRITE_DOCS=1` has the test write the file.

use std::fmt::Write as _;
use std::path::Path;

use ringway_command::options::{self, Row};

use super::options::ServerArgs;

/// Of each option: its name, the name that it has in Autobahn, and the test that shows its effect, as `module::name` of
/// `tests/it` or with the path of its file. Empty: none.
#[rustfmt::skip] // one option per line
const SHOWN: &[(&str, &str, &str)] = &[
    ("wsuri", "", "balance::every_worker_serves_every_place_where_the_server_listens"),
    ("unix-mode", "", "src/ringway/supervise/listen_tests.rs::a_unix_socket_has_the_mode_and_the_owner_that_were_given"),
    ("unix-owner", "", "src/ringway/supervise/listen_tests.rs::a_unix_socket_has_the_mode_and_the_owner_that_were_given"),
    ("port", "", "observer::supervisor_and_workers_are_found_by_their_listener_and_the_busy_one_shows"),
    ("workers", "workers", "balance::of_400_connections_opened_one_after_another_each_of_4_workers_holds_80_to_120"),
    ("noaffinity", "", "src/ringway/supervise/environment.rs::workers_are_pinned_modulo_the_allowed_cpus"),
    ("backlog", "backlog", "src/ringway/supervise/listen_tests.rs::a_backlog_is_clipped_to_what_the_kernel_grants"),
    ("silence", "silence", "cli::silence_is_silent_and_a_reader_that_leaves_is_no_reason_to_stop"),
    ("log-frames", "logFrames", "frame_log::the_frames_of_one_connection_in_two_are_logged"),
    ("log-bytes", "logOctets", "frame_log::the_frames_of_one_connection_in_two_are_logged"),
    ("debug", "debug", "supervision::a_debug_log_that_nobody_reads_holds_no_connection_up"),
    ("interval", "interval", "cli::json_begins_with_listening_and_then_has_one_object_per_interval"),
    ("format", "", "cli::json_begins_with_listening_and_then_has_one_object_per_interval"),
    ("io", "", "supervision::a_replacement_without_a_ring_is_tried_again_where_the_ring_was_asked_for"),
    ("service", "", "opening::a_health_check_says_whether_the_worker_is_to_end"),
    ("reuseport", "", "balance::with_a_listener_of_its_own_every_worker_serves"),
    ("subprotocol", "protocols", "http::a_subprotocol_is_chosen_in_the_order_of_the_client"),
    ("allow-origin", "allowedOrigins", "opening::pages_of_other_origins_get_403_and_a_log_line"),
    ("allow-null-origin", "allowNullOrigin", "opening::the_null_origin_and_a_missing_one_have_options"),
    ("require-origin", "", "opening::the_null_origin_and_a_missing_one_have_options"),
    ("versions", "versions", "opening::version_8_opens_when_it_is_served"),
    ("trust-forwarded-for", "trustXForwardedFor", "opening::the_address_of_the_client_is_the_one_that_trusted_proxies_tell"),
    ("trust-proxies", "", "opening::the_address_of_the_client_is_the_one_that_trusted_proxies_tell"),
    ("proxy-protocol", "", "opening::a_proxy_header_names_the_client_however_it_is_cut"),
    ("header", "headers", "opening::every_answer_has_the_headers_and_the_name_of_the_operator"),
    ("server-name", "server", "opening::every_answer_has_the_headers_and_the_name_of_the_operator"),
    ("health-path", "", "opening::a_health_check_says_whether_the_worker_is_to_end"),
    ("legacy", "allowHixie76", "legacy::hixie_76_opens_echoes_and_ends"),
    ("flash-policy", "serveFlashSocketPolicy", "legacy::flash_gets_a_policy_in_place_of_a_request"),
    ("web", "", "web::files_have_types_validators_and_ranges"),
    ("web-listing", "", "web::directories_have_an_index_a_slash_and_a_list_if_asked_for"),
    ("web-cache-control", "", "web::files_have_types_validators_and_ranges"),
    ("cgi-dir", "", "tests/it/web/cgi.rs::a_program_is_told_all_of_its_request"),
    ("cgi-timeout", "", "tests/it/web/cgi.rs::a_program_that_does_not_speak_cgi_is_502_and_a_silent_one_504"),
    ("pass-env", "", "tests/it/web/cgi.rs::a_program_is_told_all_of_its_request"),
    ("max-forks", "", "tests/it/web/cgi.rs::one_program_more_than_may_run_is_503"),
    ("kill-after", "", "tests/it/web/cgi.rs::a_client_that_leaves_takes_its_program_along"),
    ("http-proxy", "", "web::an_application_gets_what_is_for_no_file_and_knows_the_client"),
    ("http-proxy-timeout", "", "web::an_application_that_is_away_is_502_and_a_slow_one_504"),
    ("web-connections", "", "web::connections_above_the_limit_wait_and_then_get_502"),
    ("web-idle-timeout", "", "web::a_client_that_stops_is_not_waited_for_for_ever"),
    ("echo-close-reason", "echoCloseCodeReason", "closing::a_close_is_answered_with_its_reason_when_asked_for"),
    ("fail-by-drop", "failByDrop", "closing::a_peer_that_breaks_the_protocol_gets_a_close_or_is_dropped"),
    ("deflate", "perMessageCompressionAccept", "deflate::messages_are_compressed_both_ways"),
    ("deflate-level", "", "deflate::what_the_driver_compresses_comes_back_exactly"),
    ("deflate-memory", "mem_level", "src/proto/deflate/tests.rs::what_is_compressed_here_is_read_by_another_inflater"),
    ("deflate-takeover", "no_context_takeover", "deflate::what_the_driver_compresses_comes_back_exactly"),
    ("deflate-window", "window_bits", "deflate::what_the_driver_compresses_comes_back_exactly"),
    ("deflate-client-takeover", "request_no_context_takeover", "deflate::messages_are_compressed_both_ways"),
    ("deflate-client-window", "request_max_window_bits", "src/proto/deflate/negotiate.rs::a_client_keeps_no_larger_window_than_the_server_wants_to_keep_for_it"),
    ("deflate-threshold", "", "deflate::messages_are_compressed_both_ways"),
    ("snappy", "perMessageCompressionAccept", "bzip2_snappy::each_extension_needs_its_feature"),
    ("bzip2", "perMessageCompressionAccept", "bzip2_snappy::each_extension_needs_its_feature"),
    ("bzip2-level", "", "bzip2_snappy::bzip2_comes_back_within_its_levels"),
    ("bzip2-client-level", "", "bzip2_snappy::bzip2_comes_back_within_its_levels"),
    ("cert", "", "tls::plain_and_tls_connections_share_a_port"),
    ("key", "", "tls::plain_and_tls_connections_share_a_port"),
    ("tls", "", "tls::a_plain_request_is_refused_where_all_must_speak_tls"),
    ("key-password", "", "tls::an_encrypted_key_needs_its_password"),
    ("tls-ciphers", "", "tls::the_cipher_suites_that_were_chosen_hold"),
    ("tls-min", "", "tls::the_lowest_version_holds"),
    ("client-ca", "", "certificates::a_client_shows_a_certificate_and_the_application_sees_its_name"),
    ("client-auth", "", "certificates::a_client_shows_a_certificate_and_the_application_sees_its_name"),
    ("app", "", "broadcast::every_message_reaches_every_client_on_every_worker"),
    ("echo-self", "", "broadcast::a_sender_is_left_out_if_it_is_to_be"),
    ("tick", "", "broadcast::a_tick_comes_to_all"),
    ("bus-log", "", "broadcast::a_message_above_the_bus_is_1009"),
    ("slow-policy", "", "broadcast::a_client_that_does_not_read_misses_messages_or_is_closed"),
    ("slow-messages", "", "broadcast::a_client_that_does_not_read_misses_messages_or_is_closed"),
    ("slow-bytes", "", "broadcast::a_client_that_does_not_read_misses_messages_or_is_closed"),
    ("may-publish", "", "pubsub::rights_are_options"),
    ("may-subscribe", "", "pubsub::rights_are_options"),
    ("token-key", "", "access::tokens_are_signed_with_either_key_and_name_issuer_and_audience"),
    ("token-issuer", "", "access::tokens_are_signed_with_either_key_and_name_issuer_and_audience"),
    ("token-audience", "", "access::tokens_are_signed_with_either_key_and_name_issuer_and_audience"),
    ("token-required", "", "access::tokens_are_signed_with_either_key_and_name_issuer_and_audience"),
    ("api-key", "", "access::the_api_needs_its_key"),
    ("history-messages", "", "pubsub::a_subscriber_that_comes_back_gets_what_it_missed"),
    ("history-time", "", "pubsub::a_history_forgets_what_is_old"),
    ("history-bytes", "", "pubsub::a_history_has_so_many_bytes"),
    ("backplane", "", "backplane::messages_of_a_pubsub_cross_both_ways_and_once"),
    ("backplane-prefix", "", "backplane::servers_with_another_prefix_hear_nothing"),
    ("max-connections", "maxConnections", "balance::a_server_takes_as_many_clients_as_it_may_and_refuses_one_more"),
    ("connections-per-address", "", "addresses::an_address_has_so_many_connections_and_the_others_are_served"),
    ("handshakes-per-address", "", "addresses::an_address_opens_so_many_connections_per_second"),
    ("max-message", "maxMessagePayloadSize", "bad_frames::a_message_above_max_message_is_1009_and_one_at_it_is_echoed"),
    ("max-frame", "maxFramePayloadSize", "bad_frames::a_message_above_max_message_is_1009_and_one_at_it_is_echoed"),
    ("send-queue", "", "bad_frames::memory_stays_bounded_while_peers_never_read_and_others_are_served"),
    ("max-head", "", "http::limits_of_heads_are_options"),
    ("max-headers", "", "http::limits_of_heads_are_options"),
    ("handshake-timeout", "openHandshakeTimeout", "bad_input::a_client_that_says_nothing_gets_408"),
    ("write-timeout", "", "lives::a_client_that_never_reads_is_dropped_and_one_that_reads_slowly_is_not"),
    ("idle-timeout", "", "bad_frames::silent_peers_are_pinged_then_dropped_and_idle_ones_closed_with_1001"),
    ("ping-timeout", "autoPingTimeout", "bad_frames::a_pinged_peer_has_the_time_that_it_was_given"),
    ("fragment-size", "autoFragmentSize", "fragments::messages_leave_in_frames_of_the_size_that_was_asked_for"),
    ("ping-interval", "autoPingInterval", "bad_frames::silent_peers_are_pinged_then_dropped_and_idle_ones_closed_with_1001"),
    ("close-timeout", "closeHandshakeTimeout", "faults::a_client_that_never_answers_the_close_does_not_stop_the_exit"),
    ("drain-timeout", "", "cli::a_worker_that_ignores_its_drain_is_killed_after_the_drain_time"),
    ("nodelay", "tcpNoDelay", "src/ringway/supervise/listen_tests.rs::port_zero_becomes_a_real_port_and_options_reach_accepted_sockets"),
    ("congestion", "", "src/ringway/supervise/listen_tests.rs::an_unknown_congestion_control_lists_the_known_ones"),
    ("rcvbuf", "", "src/ringway/supervise/listen_tests.rs::buffer_sizes_reach_accepted_sockets"),
    ("sndbuf", "", "lives::a_client_that_never_reads_is_dropped_and_one_that_reads_slowly_is_not"),
    ("keepalive", "", "lives::the_kernel_probes_silent_clients_by_default"),
    ("keepalive-interval", "", "src/ringway/supervise/listen_tests.rs::times_and_count_of_probes_reach_accepted_sockets"),
    ("keepalive-count", "", "src/ringway/supervise/listen_tests.rs::times_and_count_of_probes_reach_accepted_sockets"),
    ("user-timeout", "", "src/ringway/supervise/listen_tests.rs::port_zero_becomes_a_real_port_and_options_reach_accepted_sockets"),
    ("defer-accept", "", "src/ringway/supervise/listen_tests.rs::a_deferred_accept_hides_a_connection_that_has_said_nothing"),
    ("notsent-lowat", "", "src/ringway/supervise/listen_tests.rs::port_zero_becomes_a_real_port_and_options_reach_accepted_sockets"),
    ("fastopen", "", "src/ringway/supervise/listen_tests.rs::the_queue_of_fast_opens_is_on_the_listener"),
    ("maxseg", "", "src/ringway/supervise/listen_tests.rs::the_largest_segment_reaches_accepted_sockets"),
    ("busy-poll", "", "src/ringway/supervise/listen_tests.rs::the_time_of_busy_polling_reaches_accepted_sockets"),
];

const BEGIN: &str = "# Options of `ringway server`\n\n\
    Each option is also a key of the file that `--config` names, without the dashes, and `--print-config` prints the present \
    values.\nThe table is made from the definitions, and a test holds it equal to them. *Autobahn* is the name in Autobahn; *shown \
    by* is the\ntest that shows the effect, in `tests/it` unless it has a path. A dash stands for none.\n";

const END: &str = "
## Options of Autobahn that are not there

| Autobahn | why |
|---|---|
| `utf8validateIncoming` | Text that is no UTF-8 must fail the connection (RFC 6455 §8.1), and applications get it as `&str`. |
| `requireMaskedClientFrames`, `acceptMaskedServerFrames`, `maskServerFrames`, `maskClientFrames`, `applyMask` | A frame that is masked the wrong way must fail the connection (RFC 6455 §5.1), and the mask of clients protects proxies on the way from bytes that a page chose. |
| `autoPingSize`, `autoPingRestartOnAnyTraffic` | Every byte of a peer counts as a sign of life, and what its Pong carries is not looked at. A Ping has 8 bytes. |
| `webStatus` with `redirect` | Whoever writes a link to the server could send its visitors anywhere. |
| `trackTimings`, `TrafficStats` | `Handle::traffic` has what the kernel counts of a connection, and costs nothing until it is asked for. |
| `externalPort` | The port in `Host` is not compared with anything: proxies change it. |
| `flashSocketPolicy` | `--flash-policy` writes the policy: what a page of any site may reach is the ports. |
";

fn table() -> String {
    let mut text = BEGIN.to_owned();
    let mut under = None;
    for Row {
        heading,
        name,
        value_name,
        default,
        help,
    } in options::rows::<ServerArgs>()
    {
        if under != Some(heading) {
            under = Some(heading);
            let heading = heading.unwrap_or("General");
            let _ = write!(
                text,
                "\n## {heading}\n\n| option | value | default | effect | Autobahn | shown by |\n|---|---|---|---|---|---|\n"
            );
        }
        let (_, autobahn, test) = SHOWN
            .iter()
            .find(|(shown, ..)| *shown == name)
            .unwrap_or_else(|| {
                panic!("--{name} has no line in SHOWN: which test shows its effect?")
            });
        let or_dash = |text: &str| match text {
            "" => "–".to_owned(),
            text => format!("`{text}`"),
        };
        let default = match (value_name, default) {
            ("BOOL", None) => "false".to_owned(),
            (_, None) => "–".to_owned(),
            (_, Some(default)) => default,
        };
        let _ = writeln!(
            text,
            "| `--{name}` | {value_name} | {default} | {} | {} | {} |",
            help.replace('|', "\\|"),
            or_dash(autobahn),
            or_dash(test)
        );
    }
    text + END
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_table_of_the_documentation_is_the_one_of_the_definitions() {
    let path = root().join("docs/options.md");
    let text = table();
    if std::env::var_os("RINGWAY_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("the folder is there");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "docs/options.md is out of date: set RINGWAY_WRITE_DOCS=1 and run this test again";
    assert!(written == text, "{hint}");
}

#[test]
fn every_test_that_the_table_names_is_there() {
    for (name, _, test) in SHOWN.iter().filter(|(_, _, test)| !test.is_empty()) {
        let (place, function) = test.rsplit_once("::").expect("a module and a name");
        let path = match place.strip_suffix(".rs") {
            Some(_) => place.to_owned(),
            None => format!("tests/it/{place}.rs"),
        };
        let text = std::fs::read_to_string(root().join(&path)).expect("a file");
        assert!(
            text.contains(&format!("fn {function}(")),
            "--{name}: {test}"
        );
    }
}
