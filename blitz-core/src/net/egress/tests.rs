//! T52 and T53 against a server of our own on this machine.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

fn local() -> Rules {
    Rules { timeout: Duration::from_secs(5), ..Rules::public().with_reach(Reach::Local) }
}

/// Answers each connection by what `answer` writes for its number and the request's head; gives its port.
fn serve(answer: impl Fn(usize, &str, &mut std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            answer(number, &String::from_utf8_lossy(&head), &mut stream);
        }
    });
    port
}

async fn code(guard: &Guard, url: &str) -> ErrorCode {
    guard.fetch(Request::new("GET", url)).await.err().map_or_else(|| panic!("{url} was asked"), |error| error.code())
}

#[tokio::test]
async fn t52_addresses_that_are_not_public_are_refused_unasked() {
    let guard = Guard::new(Rules::public());
    for url in [
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://100.64.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://a.localhost/",
        "http://[::1]/",
        "http://127.0.0.1.:80/",
        "gopher://example.com/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user@example.com/",
        "http://user:canary@example.com/",
    ] {
        assert_eq!(code(&guard, url).await, ErrorCode::PermissionDenied, "{url}");
        assert!(guard.check(url).is_err());
    }
    for url in ["", "example.com", "http://", "http://a b/", "http://exa\r\nmple.com/"] {
        assert_eq!(code(&guard, url).await, ErrorCode::InvalidInput, "{url:?}");
    }
}

#[tokio::test]
async fn t52_what_would_split_a_request_is_no_header() {
    let guard = Guard::new(local());
    for (name, value) in [("x", "a\r\nhost: b"), ("x\r\ny", "a"), ("x y", "a"), ("Host", "b"), ("content-length", "1")]
    {
        let request = Request::new("GET", "http://127.0.0.1:1/").header(name, value);
        assert_eq!(guard.fetch(request).await.unwrap_err().code(), ErrorCode::InvalidInput, "{name:?}");
    }
    let method = guard.fetch(Request::new("GET / HTTP/1.1\r\n", "http://127.0.0.1:1/")).await;
    assert_eq!(method.unwrap_err().code(), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn t52_one_bad_address_of_a_name_keeps_out_all() {
    let guard = Guard {
        resolve: Arc::new(|_, port| {
            Box::pin(async move { Ok(vec![([1, 1, 1, 1], port).into(), ([10, 0, 0, 1], port).into()]) })
        }),
        ..Guard::new(Rules::public())
    };
    assert_eq!(code(&guard, "http://mixed.example/").await, ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn t52_a_name_is_resolved_once_and_that_address_is_asked() {
    let port = serve(|_, _, stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let guard = Guard {
        // The second answer would lead elsewhere.
        resolve: Arc::new(move |_, port| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let address = if first { [127, 0, 0, 1] } else { [169, 254, 169, 254] };
            Box::pin(async move { Ok(vec![(address, port).into()]) })
        }),
        ..Guard::new(local())
    };
    let response = guard.fetch(Request::new("GET", format!("http://rebinding.example:{port}/"))).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"ok".as_slice()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn t52_redirects_are_not_followed_or_tested_like_the_first_address() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    let port = serve(move |number, head, stream| {
        heads.lock().unwrap().push(head.to_ascii_lowercase());
        let to = match number {
            0 | 1 => "http://169.254.169.254/latest/",
            2 => "/next",
            3 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                return;
            }
            _ => "/again",
        };
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let url = format!("http://127.0.0.1:{port}/");
    let stays = Guard::new(local());
    assert_eq!(stays.fetch(Request::post(&url)).await.unwrap().status, 302);
    let follows = Guard::new(Rules { max_redirects: 9, ..local() });
    assert_eq!(code(&follows, &url).await, ErrorCode::PermissionDenied);
    let request = Request::post(&url).header("authorization", "Bearer canary").body("secret");
    assert_eq!(follows.fetch(request).await.unwrap().status, 200);
    let heads = seen.lock().unwrap().clone();
    assert!(heads[3].starts_with("get /next"), "{:?}", heads[3]);
    // Hops end.
    assert_eq!(follows.fetch(Request::post(&url)).await.unwrap().status, 302);
    assert_eq!(seen.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn t52_what_was_meant_for_one_host_is_not_shown_to_another() {
    let (tell, told) = std::sync::mpsc::channel();
    let other = serve(move |_, head, stream| {
        tell.send(head.to_ascii_lowercase()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let first = serve(move |_, _, stream| {
        let answer = format!("HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:{other}/\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let guard = Guard::new(Rules { max_redirects: 1, ..local() });
    let request = Request::new("GET", format!("http://127.0.0.1:{first}/")).header("authorization", "Bearer canary");
    assert_eq!(guard.fetch(request).await.unwrap().status, 200);
    assert!(!told.recv().unwrap().contains("canary"));
}

#[tokio::test]
async fn only_listed_hosts_are_asked() {
    let rules = Rules { hosts: Some(vec!["api.example.com".into(), ".example.org".into()]), ..Rules::public() };
    let guard = Guard::new(rules);
    for url in [
        "https://example.com/",
        "https://api.example.com.evil.net/",
        "https://example.org/",
        "https://evilexample.org/",
    ] {
        assert_eq!(code(&guard, url).await, ErrorCode::PermissionDenied, "{url}");
    }
    for url in ["https://API.example.com./", "https://a.example.org/"] {
        assert!(guard.check(url).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn t53_answers_without_end_or_measure_are_capped() {
    let rules = || Rules { max_body: 64 << 10, timeout: Duration::from_secs(30), ..local() };
    let of = |port: u16| async move { code(&Guard::new(rules()), &format!("http://127.0.0.1:{port}/")).await };

    // A body without an end.
    let endless = serve(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 8192]).is_ok() {}
    });
    assert_eq!(of(endless).await, ErrorCode::TooLarge);

    // Small on the wire, large behind it.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&vec![0; 8 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 64 << 10, "{}", packed.len());
    let bomb = serve(move |_, _, stream| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&packed);
    });
    assert_eq!(of(bomb).await, ErrorCode::TooLarge);

    // Fewer bytes than announced.
    let short = serve(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfew");
    });
    assert_eq!(of(short).await, ErrorCode::Unavailable);

    let many = serve(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for n in 0..100_000 {
            if stream.write_all(format!("x-{n}: y\r\n").as_bytes()).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"\r\n");
    });
    assert_eq!(of(many).await, ErrorCode::Unavailable);
}

#[tokio::test]
async fn t24_t53_who_answers_drop_by_drop_is_not_waited_for() {
    let drip = serve(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let guard = Guard::new(Rules { timeout: Duration::from_millis(300), ..local() });
    let began = Instant::now();
    assert_eq!(code(&guard, &format!("http://127.0.0.1:{drip}/")).await, ErrorCode::Timeout);
    assert!(began.elapsed() < Duration::from_secs(20), "the drip would last for half an hour");
}
