//! What mutations begin from. Inputs with knobs begin with a byte for them.
#![allow(unreachable_pub, reason = "the fuzz targets begin from the same")]

use cutover_load::hostile::{Step, corpus};

/// Longer ones are about limits and would only slow a sweep down.
const LONGEST: usize = 4 * 1024;

/// What every case of the corpus sends.
fn sent() -> Vec<Vec<u8>> {
    let cases = corpus().unwrap().into_iter();
    let bytes = cases.map(|case| {
        let steps = case.send.into_iter();
        steps.flat_map(|step| if let Step::Send(bytes) = step { bytes } else { vec![] }).collect::<Vec<_>>()
    });
    bytes.filter(|bytes| bytes.len() <= LONGEST).collect()
}

fn with_knobs(knobs: &[u8], inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let inputs = inputs.into_iter().zip(knobs.iter().cycle());
    inputs.map(|(input, knobs)| [&[*knobs][..], &input].concat()).collect()
}

/// All sound, with what a rule is about in each.
pub fn requests() -> Vec<Vec<u8>> {
    let mut inputs = sent();
    for start in ["GET / HTTP/1.1", "POST /a?b=c HTTP/1.1", "OPTIONS * HTTP/1.1", "PUT http://a/x HTTP/1.1"] {
        for (fields, body) in [
            ("", ""),
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
            (
                "Connection: keep-alive, X-A, Upgrade, te\r\nX-A: 1\r\nUpgrade: websocket\r\nTE: trailers\r\n",
                "",
            ),
            ("X-Request-Id: abc\r\nX_Forwarded_For: b\r\nX-Real-IP: c\r\nCookie: d\r\nX-B:\t e \r\n", ""),
        ] {
            inputs.push(format!("{start}\r\nHost: a\r\n{fields}\r\n{body}").into_bytes());
        }
    }
    with_knobs(&[0x00, 0x11, 0x30, 0x91], inputs)
}

pub const REQUEST_PARTS: &[&[u8]] = &[
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 05, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Connection: close, X-A, Cookie\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c, \"x\", websocket/13\r\n",
    b"TE: gzip;q=1, trailers;q=0\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Request-Id: one\r\n",
    b"X-Request-Id: <two>\r\n",
    b"X-Request-Id: one\r\nX-Request-Id: two\r\nX-Request-Id: three\r\n",
    b"X-Forwarded-For: 198.51.100.1, x\r\n",
    b"X-Forwarded-Proto: https\r\n",
    b"X-Forwarded-Host: b\r\n",
    b"Forwarded: for=\"[::1]\"\r\n",
    b"X-Real_IP: 1\r\n",
    b"X_Forwarded_Of_A_Name_That_Is_Longer_Than_Any: 1\r\n",
    b"X-A: \xe9\t1\r\n",
    b"X-A : 1\r\n",
    b" folded\r\n",
    b"Proxy-Authorization: x\r\nKeep-Alive: 5\r\n",
    b"Sec-WebSocket-Key: x\r\n",
    b"Content-Type: application/grpc\r\ngrpc-timeout: 5S\r\n",
    b"\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
];

pub fn chunks() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = sent()
        .into_iter()
        .filter_map(|bytes| {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            Some(bytes[end + 4..].to_vec())
        })
        .filter(|body| !body.is_empty())
        .collect();
    inputs
        .push(b"5\r\nhello\r\n00a;x=\"y z\" ; q\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\nGET /".to_vec());
    with_knobs(&[0x00, 0x10, 0x30, 0x90], inputs)
}

pub const CHUNK_PARTS: &[&[u8]] = &[
    b"5\r\nhello\r\n",
    b"A\r\n0123456789\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"1;a\r\nx\r\n",
    b"1 ;a=\"\r\n",
    b"X-Sum: 1\r\n",
    b"X-Sum:\x0c1\r\n",
    b"Cookie: a\r\n",
    b"Content_Length: 1\r\n",
    b"ffffffffffffffff\r\n",
    b"\r\n",
];

pub fn answers() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for start in [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 426 ",
        "HTTP/1.1 599",
    ] {
        for (fields, body) in [
            ("", "until the end"),
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 0\r\n", ""),
            ("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
            ("Connection: keep-alive, X-A\r\nX-A: 1\r\nUpgrade: websocket\r\nKeep-Alive: timeout=5\r\n", ""),
            ("Set-Cookie: a\r\nSet-Cookie: b\r\nProxy-Authenticate: c\r\nX-B:\t d \r\n", "x"),
        ] {
            inputs.push(format!("{start}\r\n{fields}\r\n{body}").into_bytes());
        }
    }
    with_knobs(&[0x00, 0x11, 0x32, 0x94, 0x03], inputs)
}

pub const ANSWER_PARTS: &[&[u8]] = &[
    b"Content-Length: 5\r\n",
    b"Content-Length: 007\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close, Content-Length, Set-Cookie\r\n",
    b"Upgrade: websocket\r\n",
    b"X-A : 1\r\n",
    b"X-A: \xe9\r\n",
    b"X-A: 1\n",
    b" folded\r\n",
    b"\r\n",
    b"Content-Type: text/event-stream\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
];

pub fn streams() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for start in ["GET a /", "POST a:80 /x?y", "OPTIONS a *", "PUT [::1] /%41", "HEAD  /"] {
        for fields in [
            "",
            "\ncontent-length:5",
            "\nhost:a\nte:trailers\ncookie:a=b\ncookie:c=d",
            "\nx-request-id:abc\nexpect:100-continue\nx_forwarded_for:b\nx-a: \t1 ",
            "\nsec-websocket-version:13\nsec-websocket-key:x\nx-forwarded-for:1",
        ] {
            inputs.push(format!("{start}{fields}").into_bytes());
        }
    }
    with_knobs(&[0, 1, 2, 3, 4, 5], inputs)
}

pub const STREAM_PARTS: &[&[u8]] = &[
    b"\nhost:a",
    b"\ncookie:a",
    b"\ncontent-length:0",
    b"\nx-request-id:one",
    b"\nexpect:100-continue",
    b"\nx-forwarded-proto:https",
    b"\nforwarded:for=_x",
    b"\ncontent-type:application/grpc\ngrpc-timeout:1H",
    b"\ntrailer:x",
    b"\ntransfer_encoding:chunked",
];

pub fn targets() -> Vec<Vec<u8>> {
    let heads = sent().into_iter().filter_map(|bytes| {
        let target = bytes.split(|byte| *byte == b' ').nth(1)?;
        (!target.is_empty() && target.len() < 256).then(|| target.to_vec())
    });
    let hosts = ["a", "a:80", "[::1]:8", "1.2.3.4:", "xn--a.b", "a%41", "http://a:1?x", "https://[::1]/x?y"];
    heads.chain(hosts.map(|host| host.as_bytes().to_vec())).collect()
}

pub const TARGET_PARTS: &[&[u8]] = &[
    b"http://",
    b"a@",
    b":80",
    b":65536",
    b"[::ffff:1.2.3.4]",
    b"%2f",
    b"%00",
    b"/..",
    b"?",
    b"//",
    b"[v1.a]",
];

pub fn introductions() -> Vec<Vec<u8>> {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n";
    let four = b"\xc0\0\x02\x01\xc0\0\x02\x02\0\x05\0\x50";
    vec![
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\nGET / HTTP/1.1\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 65535 0\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        [&v2[..], b"\x21\x11\0\x0c", four, b"GET"].concat(),
        [&v2[..], b"\x21\x11\0\x10", four, b"\x04\0\x01\0"].concat(),
        [&v2[..], b"\x21\x21\0\x24", four, four, four].concat(),
        [&v2[..], b"\x20\0\0\0"].concat(),
        [&v2[..], b"\x20\x11\0\x02ab"].concat(),
        [&v2[..], b"\x21\x31\0\xd8", &[b'/'; 216]].concat(),
        [&v2[..], b"\x21\x12\0\x0c", four].concat(),
    ]
}

pub const INTRODUCTION_PARTS: &[&[u8]] = &[
    b"\r", b"\r\n", b" ", b"0", b"+", b"UNKNOWN", b"TCP4 ", b"TCP6 ", b"::", b"1.1.1.1", b"\x21", b"\x11",
    b"\x20",
];

pub fn frames() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, length: u8| {
        [&[0, 0, length, kind, flags, 0, 0, 0, 1][..], &vec![0; usize::from(length)]].concat()
    };
    let inputs = vec![
        [frame(4, 0, 6), frame(1, 5, 20), frame(0, 0, 9), frame(0, 1, 0), frame(8, 0, 4)].concat(),
        [frame(1, 5, 2), frame(3, 0, 4)].concat().repeat(8),
        frame(6, 0, 8).repeat(12),
        frame(0, 0, 0).repeat(12),
    ];
    with_knobs(&[0x01, 0x11, 0x32, 0x90], inputs)
}

pub const FRAME_PARTS: &[&[u8]] = &[
    b"\0\0\0\x03\0\0\0\0\x01",
    b"\0\0\0\x01\x05\0\0\0\x01",
    b"\0\0\x01\x06\0\0\0\0\0a",
    b"\0\0\0\0\0\0\0\0\x01",
    b"\0\0\0\x09\0\0\0\0\x01",
    b"\0\x01\0\x02\0\0\0\0\x01",
];

pub fn timeouts() -> Vec<Vec<u8>> {
    ["1S", "99999999H", "0n", "100m", "5u", "60M"].map(|value| value.as_bytes().to_vec()).to_vec()
}

pub const TIMEOUT_PARTS: &[&[u8]] = &[b"0", b"9999", b"H", b"S", b"n", b"+", b"-1", b" "];
