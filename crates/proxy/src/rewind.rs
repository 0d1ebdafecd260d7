//! A request's body that can be sent once more, as long as it is short: what was taken of it is kept.

use http::HeaderMap;

use crate::body::{BodySource, Piece, SourceError};
use crate::buffers::Buffers;
use crate::carry::RequestSource;

/// A source that can be begun again.
pub(crate) struct Rewind<'a, S> {
    source: &'a mut S,
    kept: Kept<'a>,
    trailers: Option<HeaderMap>,
    /// The end was seen.
    is_whole: bool,
}

/// What was taken of a body.
struct Kept<'a> {
    buffers: &'a Buffers,
    bytes: Vec<u8>,
    /// Bytes that may be kept.
    most: usize,
    /// How much was handed out since the last beginning.
    given: usize,
    /// More was taken than may be kept.
    is_lost: bool,
}

impl Kept<'_> {
    fn add(&mut self, bytes: &[u8]) {
        if self.is_lost {
            return;
        }
        if self.bytes.len() + bytes.len() > self.most {
            return self.lose();
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.buffers.small();
        }
        self.bytes.extend_from_slice(bytes);
        self.given = self.bytes.len();
    }

    fn lose(&mut self) {
        self.is_lost = true;
        self.let_go();
    }

    fn let_go(&mut self) {
        if self.bytes.capacity() > 0 {
            self.buffers.give_back(std::mem::take(&mut self.bytes));
        }
        self.given = 0;
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl<'a, S> Rewind<'a, S> {
    /// Keeps so many bytes at most.
    pub(crate) fn new(source: &'a mut S, buffers: &'a Buffers, most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let kept = Kept { buffers, bytes: Vec::new(), most, given: 0, is_lost: false };
        Self { source, kept, trailers: None, is_whole: false }
    }

    /// Begins the body again; `false` if it cannot be had a second time.
    pub(crate) fn begin_again(&mut self) -> bool {
        self.kept.given = 0;
        !self.kept.is_lost
    }
}

impl<S: RequestSource> BodySource for Rewind<'_, S> {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        let Self { source, kept, trailers, is_whole } = self;
        if kept.given < kept.bytes.len() {
            let from = std::mem::replace(&mut kept.given, kept.bytes.len());
            return Ok(Some(Piece::Borrowed(&kept.bytes[from..])));
        }
        if *is_whole {
            return Ok(trailers.clone().map(Piece::Trailers));
        }
        let piece = source.piece().await?;
        match &piece {
            Some(Piece::Borrowed(bytes)) => kept.add(bytes),
            Some(Piece::Shared(bytes)) => kept.add(bytes),
            Some(Piece::Trailers(fields)) => {
                (*is_whole, *trailers) = (true, Some(fields.clone()));
            }
            None => *is_whole = true,
        }
        Ok(piece)
    }
}

impl<S: RequestSource> RequestSource for Rewind<'_, S> {
    fn tunnel(&mut self) {
        // What follows an upgrade is sent once, whatever becomes of it.
        self.kept.lose();
        self.is_whole = false;
        self.source.tunnel();
    }

    fn has_ended(&self) -> bool {
        self.source.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A body in pieces.
    struct Pieces(Vec<&'static [u8]>);

    impl BodySource for Pieces {
        async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
            Ok((!self.0.is_empty()).then(|| Piece::Shared(Bytes::from_static(self.0.remove(0)))))
        }
    }

    impl RequestSource for Pieces {
        fn tunnel(&mut self) {}

        fn has_ended(&self) -> bool {
            self.0.is_empty()
        }
    }

    async fn rest(source: &mut impl BodySource) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(Some(piece)) = source.piece().await {
            all.extend_from_slice(piece.bytes());
        }
        all
    }

    #[tokio::test]
    async fn a_short_body_is_the_same_as_often_as_it_is_begun() {
        let buffers = Buffers::default();
        let mut pieces = Pieces(vec![b"one ", b"two ", b"three"]);
        let mut source = Rewind::new(&mut pieces, &buffers, 13);
        // The first try takes a part of it.
        assert_eq!(source.piece().await.unwrap().unwrap().bytes(), b"one ");
        assert!(source.begin_again());
        assert_eq!(rest(&mut source).await, b"one two three");
        assert!(source.begin_again());
        assert_eq!(rest(&mut source).await, b"one two three");
    }

    #[tokio::test]
    async fn a_longer_body_passes_and_cannot_be_begun_again() {
        let buffers = Buffers::default();
        let mut pieces = Pieces(vec![b"one ", b"two ", b"three"]);
        let mut source = Rewind::new(&mut pieces, &buffers, 12);
        assert_eq!(rest(&mut source).await, b"one two three");
        assert!(!source.begin_again());
    }
}
