use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp(NOW * 1_000_000)
}

fn keys() -> [SigningKey; 2] {
    [SigningKey::random(TokenAlgorithm::Hs256), SigningKey::random(TokenAlgorithm::EdDsa)]
}

fn claims() -> Value {
    json!({
        "iss": "blitz", "aud": "blitz", "sub": "7", "jti": "x", "typ": "access", "sid": 1, "ver": 1,
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600,
    })
}

/// A token over any header and claims, rightly signed.
fn signed(key: &SigningKey, header: &Value, claims: &str) -> String {
    let input = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims));
    let signature = match key.algorithm {
        TokenAlgorithm::Hs256 => {
            BASE64URL.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.secret), input.as_bytes()))
        }
        TokenAlgorithm::EdDsa => BASE64URL.encode(key.pair().sign(input.as_bytes())),
    };
    format!("{input}.{signature}")
}

fn header(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm.name(), "typ": "JWT", "kid": key.kid})
}

fn accepts(key: &SigningKey, token: &str) -> bool {
    parse(token).is_some_and(|token| verify(&token, key, "blitz", "blitz", now()).is_some())
}

#[test]
fn a_token_of_ours_is_read_back() {
    for key in keys() {
        let claims: Claims = serde_json::from_value(claims()).unwrap();
        let token = key.sign(&claims).unwrap();
        assert_eq!(verify(&parse(&token).unwrap(), &key, "blitz", "blitz", now()), Some(claims));
        let again = SigningKey::stored(&key.kid, key.algorithm, &key.secret()).unwrap();
        assert!(accepts(&again, &token));
        assert!(keys().iter().all(|other| !accepts(other, &token)), "another key");
    }
}

#[test]
fn t27_a_header_that_leads_elsewhere_is_refused() {
    for key in keys() {
        let body = claims().to_string();
        assert!(accepts(&key, &signed(&key, &header(&key), &body)));
        let with = |field: &str, value: Value| {
            let mut header = header(&key);
            header[field] = value;
            signed(&key, &header, &body)
        };
        let other = if key.algorithm == TokenAlgorithm::Hs256 { "EdDSA" } else { "HS256" };
        for (field, value) in [
            ("alg", json!("none")),
            ("alg", json!("None")),
            ("alg", json!("")),
            ("alg", json!("hs256")),
            ("alg", json!("RS256")),
            ("alg", json!(other)),
            ("alg", json!(null)),
            ("typ", json!("JWS")),
            ("kid", json!("unknown")),
            ("kid", json!("")),
            ("kid", json!("../../etc/passwd")),
            ("kid", json!("' OR 1=1 --")),
            ("kid", json!("k".repeat(65))),
            ("kid", json!(7)),
            ("jku", json!("https://example.com/keys")),
            ("x5u", json!("https://example.com/cert")),
            ("jwk", json!({"kty": "oct", "k": "AA"})),
            ("x5c", json!([])),
            ("crit", json!(["exp"])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
        ] {
            assert!(!accepts(&key, &with(field, value.clone())), "{field}: {value}");
        }
    }
}

#[test]
fn t27_a_public_key_is_no_secret_for_hs256() {
    let pair = SigningKey::random(TokenAlgorithm::EdDsa);
    let forged = SigningKey {
        kid: pair.kid.clone(),
        algorithm: TokenAlgorithm::Hs256,
        secret: Zeroizing::new(pair.public_key().unwrap()),
    };
    let token = signed(&forged, &header(&forged), &claims().to_string());
    assert!(accepts(&forged, &token) && !accepts(&pair, &token));
}

#[test]
fn t27_a_changed_or_missing_signature_is_refused() {
    for key in keys() {
        let token = signed(&key, &header(&key), &claims().to_string());
        let (input, signature) = token.rsplit_once('.').unwrap();
        for wrong in [
            format!("{input}."),
            input.to_owned(),
            format!("{input}.{signature}="),
            format!("{input}.{signature}A"),
            format!("{input}.{}", &signature[1..]),
            format!("{input}.{signature}.{signature}"),
            format!(" {token}"),
            format!("{token}\n"),
            String::new(),
            "...".to_owned(),
            "a".repeat(5000),
        ] {
            assert!(!accepts(&key, &wrong), "{wrong:.60}");
        }
        let mut other = claims();
        other["sub"] = json!("1");
        let (head, _) = input.split_once('.').unwrap();
        assert!(!accepts(&key, &format!("{head}.{}.{signature}", BASE64URL.encode(other.to_string()))));
    }
}

#[test]
fn t28_times_are_whole_numbers_in_reach() {
    for key in keys() {
        for claim in ["exp", "nbf", "iat"] {
            for value in [
                json!(NOW.to_string()),
                json!(NOW as f64 + 0.5),
                json!(null),
                json!(-1),
                json!(i64::MIN),
                json!(i64::MAX),
                json!(u64::MAX),
                json!([NOW]),
                json!(true),
            ] {
                let mut wrong = claims();
                wrong[claim] = value.clone();
                assert!(!accepts(&key, &signed(&key, &header(&key), &wrong.to_string())), "{claim}: {value}");
            }
            let mut missing = claims();
            missing.as_object_mut().unwrap().remove(claim);
            assert!(!accepts(&key, &signed(&key, &header(&key), &missing.to_string())), "no {claim}");
            let twice = claims().to_string().replace("{\"iss\"", &format!("{{\"{claim}\":1,\"iss\""));
            assert!(!accepts(&key, &signed(&key, &header(&key), &twice)), "{claim} twice");
            let exponent =
                claims().to_string().replace(&format!("\"{claim}\":18"), &format!("\"{claim}\":1e9,\"x\":18"));
            assert!(!accepts(&key, &signed(&key, &header(&key), &exponent)), "{claim} with an exponent");
        }
    }
}

#[test]
fn t28_the_leeway_is_half_a_minute() {
    let key = SigningKey::random(TokenAlgorithm::Hs256);
    for (claim, value, expected) in [
        ("exp", NOW - 29, true),
        ("exp", NOW - 30, false),
        ("nbf", NOW + 30, true),
        ("nbf", NOW + 31, false),
        ("iat", NOW + 30, true),
        ("iat", NOW + 31, false),
    ] {
        let mut claims = claims();
        claims["iat"] = json!(NOW - 100);
        claims[claim] = json!(value);
        assert_eq!(accepts(&key, &signed(&key, &header(&key), &claims.to_string())), expected, "{claim} {value}");
    }
}

#[test]
fn t29_whom_it_is_from_for_and_what_it_is_are_checked() {
    let key = SigningKey::random(TokenAlgorithm::Hs256);
    for (claim, value) in [
        ("iss", json!("other")),
        ("iss", json!("")),
        ("aud", json!("other")),
        ("aud", json!(["blitz"])),
        ("typ", json!("refresh")),
        ("typ", json!("Access")),
        ("sub", json!(7)),
        ("sid", json!("1")),
        ("ver", json!(1.0)),
        ("admin", json!(true)),
    ] {
        let mut wrong = claims();
        wrong[claim] = value.clone();
        assert!(!accepts(&key, &signed(&key, &header(&key), &wrong.to_string())), "{claim}: {value}");
    }
    for claim in ["iss", "aud", "sub", "jti", "typ", "sid", "ver"] {
        let mut missing = claims();
        missing.as_object_mut().unwrap().remove(claim);
        assert!(!accepts(&key, &signed(&key, &header(&key), &missing.to_string())), "no {claim}");
    }
}

#[test]
fn signatures_are_those_of_the_standards() {
    // RFC 7515, appendix A.1.
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = SigningKey {
        kid: String::new(),
        algorithm: TokenAlgorithm::Hs256,
        secret: Zeroizing::new(BASE64URL.decode(secret).unwrap()),
    };
    let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = BASE64URL.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
    assert!(key.verifies(input.as_bytes(), &signature));

    // RFC 8037, appendix A.4.
    let key = SigningKey {
        kid: String::new(),
        algorithm: TokenAlgorithm::EdDsa,
        secret: Zeroizing::new(BASE64URL.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap()),
    };
    assert_eq!(BASE64URL.encode(key.public_key().unwrap()), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(key.verifies(input.as_bytes(), &BASE64URL.decode(signature).unwrap()));
    assert_eq!(BASE64URL.encode(key.pair().sign(input.as_bytes())), signature);
}

proptest::proptest! {
    #[test]
    fn no_text_whatever_makes_the_reader_panic(text in "\\PC{0,300}", parts in proptest::collection::vec("[A-Za-z0-9_=-]{0,80}", 0..5)) {
        let key = SigningKey { kid: "k".into(), algorithm: TokenAlgorithm::Hs256, secret: Zeroizing::new(vec![1; 32]) };
        proptest::prop_assert!(!accepts(&key, &text));
        proptest::prop_assert!(!accepts(&key, &parts.join(".")));
    }
}
