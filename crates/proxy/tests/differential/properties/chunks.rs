//! Bodies in chunks: what is written of one is the body that every reader sees in what came.

use cutover_proxy::fuzzing::{Body, Outcome, relayed};

use super::strict::{self, Reading, Request};
use super::{hyper_server, knobs, shown};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// Of an input with knobs: the pieces in which the body comes.
pub fn check(input: &[u8]) {
    let Some((_, pieces, bytes)) = knobs(input) else { return };
    let at_once = relayed(bytes, Body::Chunked, Body::Chunked, &[]);
    let in_pieces = relayed(bytes, Body::Chunked, Body::Chunked, &pieces);
    match (&at_once, &in_pieces) {
        (Outcome::Whole(one, length), Outcome::Whole(other, same)) => {
            assert_eq!(length, same, "in pieces of {pieces:?}: {}", shown(bytes));
            let data = |written| read_strictly(written).map(|read| (read.0.body, read.0.trailers));
            assert_eq!(data(one), data(other), "in pieces of {pieces:?}: {}", shown(bytes));
        }
        _ => assert_eq!(at_once, in_pieces, "in pieces of {pieces:?}: {}", shown(bytes)),
    }
    let Outcome::Whole(written, length) = at_once else { return };
    let came = &bytes[..length];
    let Ok((went, used)) = read_strictly(&written) else {
        panic!("{} was written of {}", shown(&written), shown(came));
    };
    assert_eq!(used, written.len(), "{}", shown(came));

    let again = relayed(&written, Body::Chunked, Body::Chunked, &[]);
    assert_eq!(again, Outcome::Whole(written.clone(), written.len()), "{}", shown(came));
    let bare = relayed(came, Body::Chunked, Body::UntilClose, &[]);
    assert_eq!(bare, Outcome::Whole(went.body.clone(), length), "{}", shown(came));

    match read_strictly(came) {
        Ok((read, used)) => assert_eq!((&read, used), (&went, length), "{}", shown(came)),
        // Permitted: extensions of chunks. RFC 9112, section 7.1.1 has a recipient ignore them; they are not passed on, so
        // that the strict reader never has to.
        Err("a chunk size that is no number") => assert!(came.contains(&b';'), "{}", shown(came)),
        Err(deviation) => panic!("{deviation}: {}", shown(came)),
    }
    let (seen, content) = hyper_server::requests(&[HEAD, came].concat());
    assert!(content && seen.len() == 1, "hyper sees {seen:?} in {}", shown(came));
    assert_eq!(seen[0].body, went.body, "{}", shown(came));
    let fields = went.trailers.iter();
    let trailers: Vec<_> = fields
        .map(|field| (String::from_utf8_lossy(&field.name).into_owned(), field.value.clone()))
        .collect();
    assert_eq!(seen[0].trailers, trailers, "{}", shown(came));
}

/// The body as the strict reader sees it, and its length with framing.
fn read_strictly(body: &[u8]) -> Result<(Request, usize), strict::Deviation> {
    match strict::read(&[HEAD, body].concat())? {
        Reading::Whole(mut request, length) => {
            // Permitted: trailers of one name stand together, as the order of different names has no meaning (RFC 9110,
            // section 5.3).
            request.trailers.sort_by(|one, other| one.name.cmp(&other.name));
            Ok((*request, length - HEAD.len()))
        }
        Reading::Partial { .. } => Err("a body without an end"),
    }
}
