//! By its first bytes a connection is known as HTTP/2 or HTTP/1.1, in whatever pieces they come.

use crate::h1_client::Connection;
use crate::site::Site;

scenarios! {
    a_preface_that_comes_byte_by_byte_is_http_2: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_method_that_begins_like_the_preface_is_http_1: directly, by_default, over_h2c;
    a_request_that_comes_byte_by_byte_is_http_1: directly, by_default, over_h2c, over_tls, over_tls_h2;
}

async fn byte_by_byte(client: &mut Connection, bytes: &[u8]) {
    for byte in bytes {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
}

async fn a_preface_that_comes_byte_by_byte_is_http_2(site: Site) {
    let mut client = Connection::open(site.address()).await;
    byte_by_byte(&mut client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Empty SETTINGS: length, type, flags, stream.
    byte_by_byte(&mut client, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    // RFC 9113, section 3.4: the server's preface is SETTINGS too.
    let frame = client.exactly(9).await;
    assert_eq!((frame[3], &frame[5..]), (4, &[0, 0, 0, 0][..]), "{frame:?}");
}

async fn a_method_that_begins_like_the_preface_is_http_1(site: Site) {
    for method in ["P", "PR", "PRI", "PRINT", "PROPFIND"] {
        let mut client = Connection::open(site.address()).await;
        byte_by_byte(&mut client, method.as_bytes()).await;
        client.send(" / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        let head = client.head().await;
        // RFC 9113, section 11.3, keeps PRI for the preface: whoever refuses it does well.
        if method != "PRI" {
            assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "blue\n"), "{method}");
        }
    }
}

async fn a_request_that_comes_byte_by_byte_is_http_1(site: Site) {
    let mut client = Connection::open(site.address()).await;
    for _ in 0..2 {
        byte_by_byte(&mut client, b"POST /echo HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\n\r\nabc").await;
        let head = client.head().await;
        assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "abc"));
    }
}
