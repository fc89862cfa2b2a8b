//! The tokens were made with Python's hmac and with openssl, not with the library that judges them.

use super::*;
use crate::topics::{BadTopic, Pattern, Topic};

const SECRET: &[u8] = b"a secret of this test, 32 bytes.";
/// Of all tokens that have an `nbf`.
const NOT_BEFORE: Duration = Duration::from_secs(1_764_357_600);
/// Of all tokens that expire.
const EXPIRY: Duration = Duration::from_secs(1_764_361_200);

const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.njfT86BWnQMT66THC4raqQQySGWZSSJtO8n0CN8O38c";
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.FKMANRXaIHMEs4XEpsRWLjrdqcQxgppw86_IpQ_YtqinuooOC-73V5i-JTLCFx6zTRIlq8Yjl1QICYTD9N6NBQ";
const ISSUED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJhdWQiOlsib3RoZXIiLCJyaW5nd2F5Il19.YufkMo4czeBWmkWib3loVc20B1Y9Vig4JTDPiLC2l7Y";
const NO_EXPIRY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEifQ.B9P4O4Vx6VNT_ud1re3BtLUl-3hPpccPKikFKLx8A5E";
const BARE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3NjQzNjEyMDAuNX0.-uEexHTMHFpktuCz2InHjGDuTadPVjOPgNj0gk5s0DQ";
const BAD_PATTERN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3NjQzNjEyMDAsInB1Ymxpc2giOlsiYS8jL2IiXX0.nH9vYS40281pYzqxbwK0azbY-V6ThRGwg49-CxwSkTg";
const WIDE_SUBJECT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3NjQzNjEyMDAsInN1YiI6IiMifQ.VmrS3uivpz8Oaahi6KZ3Z19TAUE-BCYCaReUl474qBQ";
const WRONG_TYPE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOiJuZXZlciJ9.rpVU_vRQqNFNmXD_wpXaHwCuXo7WuZlGTj8kr7L7z2I";
const NEGATIVE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOi0xfQ.B5yodF4gXAQZv2mrj_wX3bg17_XFulkQpdEusWlRHrQ";
const HS512: &str = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.UroO7M-dvh8S9YJ2zvcPMj_EXo06KK65jX3lEhx3oroxzIaEeLjGNguBX4xFYfzTxagctYA55CHyKm4k4ChRJg";
const OTHER_SECRET: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.0er-swbomwtRO1tjIOxcjdRkfkTLJeRwEopqftjmM_k";
const NONE: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.";
const CONFUSED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.72y0_DEfSR23y3onCRjxDCtneoKjD5JrGUisChdxAoA";
const CRITICAL: &str = "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiZXhwMiJdLCJleHAyIjoxfQ.eyJzdWIiOiJhZGEiLCJleHAiOjE3NjQzNjEyMDAsIm5iZiI6MTc2NDM1NzYwMCwicHVibGlzaCI6WyJjaGF0L3tzdWJ9LyMiXSwic3Vic2NyaWJlIjpbImNoYXQvIyJdfQ.mqFCckLYZ_GXdhVyoCowUNpt-ajkO4hJmDd_ofSivAU";
const PUBLIC_KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAOCScxPDDT4iisB/PSVW+LJmGDJf+uZ4rtvbMWA5ar4=\n-----END PUBLIC KEY-----\n";

fn verify(token: &str) -> Result<Grant, BadToken> {
    let verifier = Verifier::hs256(SECRET).expect("a secret");
    verifier.verify(token, NOT_BEFORE, &Rights::default())
}

fn expect_ada(grant: &Grant) {
    assert_eq!(grant.subject.as_deref(), Some("ada"));
    assert_eq!(grant.expires_at, EXPIRY + LEEWAY);
    let publish = |topic| {
        grant
            .rights
            .may_publish(Topic::parse(topic).expect("a topic"))
    };
    let subscribe = |pattern| {
        grant
            .rights
            .may_subscribe(Pattern::parse(pattern).expect("a pattern"))
    };
    assert!(publish("chat/ada/x") && !publish("chat/bob/x"));
    assert!(subscribe("chat/#") && !subscribe("#"));
}

#[test]
fn both_algorithms_grant_what_the_claims_say() {
    expect_ada(&verify(HS256).expect("a good token"));
    let verifier = Verifier::eddsa(PUBLIC_KEY).expect("a key");
    let grant = verifier.verify(EDDSA, NOT_BEFORE, &Rights::default());
    expect_ada(&grant.expect("a good token"));
}

#[test]
fn a_token_is_good_from_nbf_to_exp_and_a_minute_around() {
    let verifier = Verifier::hs256(SECRET).expect("a secret");
    let at = |now| verifier.verify(HS256, now, &Rights::default()).map(drop);
    let ms = Duration::from_millis(1);
    assert_eq!(at(NOT_BEFORE - LEEWAY - ms), Err(BadToken::NotYet));
    assert_eq!(at(NOT_BEFORE - LEEWAY), Ok(()));
    assert_eq!(at(EXPIRY + LEEWAY - ms), Ok(()));
    assert_eq!(at(EXPIRY + LEEWAY), Err(BadToken::Expired));
    assert_eq!(at(Duration::MAX), Err(BadToken::Expired));
}

#[test]
fn lists_that_are_missing_leave_what_is_configured() {
    let configured = Rights::new(&["news"], &["news", "users/{sub}"]).expect("rights");
    let verifier = Verifier::hs256(SECRET).expect("a secret");
    let grant = verifier
        .verify(BARE, NOT_BEFORE, &configured)
        .expect("a good token");
    assert_eq!(
        grant.rights,
        Rights::new(&["news"], &["news"]).expect("rights")
    );
    assert_eq!(grant.subject, None);
    assert_eq!(grant.expires_at, EXPIRY + Duration::from_millis(60_500));
    expect_ada(
        &verifier
            .verify(HS256, NOT_BEFORE, &configured)
            .expect("a good token"),
    );
}

#[test]
fn a_token_does_not_choose_how_it_is_judged() {
    assert_eq!(verify(HS512), Err(BadToken::AlgorithmWrong));
    assert_eq!(verify(EDDSA), Err(BadToken::AlgorithmWrong));
    assert_eq!(verify(OTHER_SECRET), Err(BadToken::SignatureWrong));
    assert!(matches!(
        verify(NONE),
        Err(BadToken::Malformed | BadToken::AlgorithmWrong)
    ));
    assert!(verify(CRITICAL).is_err());
    // Signed with the public key as a secret.
    let verifier = Verifier::eddsa(PUBLIC_KEY).expect("a key");
    let confused = verifier.verify(CONFUSED, NOT_BEFORE, &Rights::default());
    assert_eq!(confused, Err(BadToken::AlgorithmWrong));
}

#[test]
fn every_other_byte_in_a_token_makes_it_worthless() {
    for at in 0..HS256.len() - 1 {
        let mut bytes = HS256.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).expect("ASCII");
        assert!(verify(&token).is_err(), "{at}");
        assert!(verify(&HS256[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn issuer_and_audience_are_the_configured_ones() {
    let verifier = |issuer, audience| {
        let verifier = Verifier::hs256(SECRET).expect("a secret");
        verifier.with_issuer(issuer).with_audience(audience)
    };
    let judge = |verifier: Verifier, token| {
        verifier
            .verify(token, NOT_BEFORE, &Rights::default())
            .map(|grant| expect_ada(&grant))
    };
    let (issuer, wrong) = (
        "https://login.example",
        Err(BadToken::IssuerOrAudienceWrong),
    );
    assert_eq!(judge(verifier(issuer, "ringway"), ISSUED), Ok(()));
    assert_eq!(judge(verifier(issuer, "third"), ISSUED), wrong);
    assert_eq!(
        judge(verifier("https://other.example", "ringway"), ISSUED),
        wrong
    );
    assert_eq!(judge(verifier(issuer, "ringway"), HS256), wrong);
    assert_eq!(
        judge(Verifier::hs256(SECRET).expect("a secret"), ISSUED),
        wrong
    );
}

#[test]
fn claims_that_mean_nothing_grant_nothing() {
    assert_eq!(verify(NO_EXPIRY), Err(BadToken::NoExpiry));
    assert_eq!(verify(NEGATIVE), Err(BadToken::ClaimsInvalid));
    assert_eq!(verify(WRONG_TYPE), Err(BadToken::Malformed));
    assert_eq!(
        verify(WIDE_SUBJECT),
        Err(BadToken::Rights(BadRights::SubjectInvalid))
    );
    let pattern = "a/#/b".to_owned();
    let fault = BadTopic::WildcardMisplaced;
    let bad = BadRights::Pattern { pattern, fault };
    assert_eq!(verify(BAD_PATTERN), Err(BadToken::Rights(bad)));
    for token in ["", ".", "..", "a.b", "a.b.c", "\0"] {
        assert_eq!(verify(token), Err(BadToken::Malformed), "{token:?}");
    }
    assert_eq!(verify(&"a".repeat(8193)), Err(BadToken::TooLong));
}

#[test]
fn keys_that_are_too_weak_or_none_are_refused() {
    assert_eq!(
        Verifier::hs256(&SECRET[1..]).map(drop),
        Err(BadKey::SecretTooShort)
    );
    assert_eq!(
        Verifier::eddsa(b"no key").map(drop),
        Err(BadKey::PemInvalid)
    );
    assert_eq!(Verifier::eddsa(SECRET).map(drop), Err(BadKey::PemInvalid));
    let verifier = Verifier::hs256(SECRET).expect("a secret");
    assert!(!format!("{verifier:?}").contains("secret of this test"));
}
