//! The fuzz target of the protocols before RFC 6455, as [`super`] says of all targets.

use ringway::proto::hixie::{self as old_frames, Draft};

use super::*;

/// What a client of the protocols before RFC 6455 sends: a request, behind whose head may be a key, or frames. However it is cut, the
/// same comes out; and messages that leave again come out as they were.
pub fn hixie(data: &[u8]) {
    let heads = handshake::Limits::default();
    let parse = |bytes, resume| {
        handshake::parse_request_for(handshake::Versions::Legacy, bytes, resume, &heads)
    };
    let whole = parse(data, Resume::default());
    same_in_pieces(data, &whole, parse);
    if let Ok(Progress::Complete { head, head_bytes }) = &whole {
        let asked_bytes = match head {
            Asked::WebSocket(request) if request.hixie() == Some(Draft::Hixie76) => head_bytes - 8,
            _ => *head_bytes,
        };
        answer_request(head, &data[..asked_bytes], &mut vec![]);
    }
    let limits = Limits {
        frame_bytes_max: 100,
        message_bytes_max: 90,
    };
    for draft in [Draft::Hixie75, Draft::Hixie76] {
        let listen = |wire: &[u8], piece| {
            listen_on(Receiver::hixie(draft, limits), limits, wire, piece, true)
        };
        let heard = listen(data, data.len().max(1));
        assert_eq!(listen(data, 1), heard);
        assert_eq!(listen(data, 3), heard);
        let mut again = vec![];
        for one in &heard {
            match one {
                Heard::Message(Kind::Text, text) => {
                    assert!(old_frames::can_carry(text));
                    let header = frame::Header {
                        fin: true,
                        compressed: false,
                        opcode: Opcode::Text,
                        payload_len: text.len() as u64,
                        masking_key: None,
                    };
                    let (before, behind) = old_frames::encode(&header);
                    again.extend_from_slice(&[before, text, behind].concat());
                }
                Heard::Close(None, _) => again.extend_from_slice(draft.end()),
                Heard::Violation(_) | Heard::Unfinished(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let said = heard
            .iter()
            .filter(|one| matches!(one, Heard::Message(..) | Heard::Close(..)));
        assert!(listen(&again, again.len().max(1)).iter().eq(said));
    }
}
