//! A request's body that can be sent once more, as long as it is short: what was taken of it is kept.

use std::cell::{Cell, RefCell};

use http::HeaderMap;

use crate::body::{BodySource, Piece, SourceError};
use crate::buffers::Buffers;
use crate::carry::RequestSource;

/// What was taken of a body, until it is known that nobody needs it again.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    buffers: &'a Buffers,
    bytes: RefCell<Vec<u8>>,
    /// Bytes that may be kept.
    most: usize,
    /// It cannot be had again.
    is_lost: Cell<bool>,
}

/// A source that can be begun again.
pub(crate) struct Rewind<'a, S> {
    source: &'a mut S,
    kept: &'a Kept<'a>,
    /// What is kept, while it is handed out once more.
    lent: Vec<u8>,
    /// What is kept comes before anything else.
    begins_again: bool,
    trailers: Option<HeaderMap>,
    /// The end was seen.
    is_whole: bool,
}

impl<'a> Kept<'a> {
    /// Keeps so many bytes at most.
    pub(crate) fn new(buffers: &'a Buffers, most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { buffers, bytes: RefCell::default(), most, is_lost: Cell::new(false) }
    }

    /// Lets go of it: there was more than may be kept, or nobody asks for it again.
    pub(crate) fn lose(&self) {
        self.is_lost.set(true);
        self.give_back(self.bytes.take());
    }

    fn add(&self, more: &[u8]) {
        if self.is_lost.get() {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.len() + more.len() > self.most {
            drop(bytes);
            return self.lose();
        }
        if bytes.capacity() == 0 {
            *bytes = self.buffers.small();
        }
        bytes.extend_from_slice(more);
    }

    fn length(&self) -> usize {
        self.bytes.borrow().len()
    }

    /// Takes back what was lent.
    fn put(&self, bytes: Vec<u8>) {
        if self.is_lost.get() {
            self.give_back(bytes);
        } else {
            self.bytes.replace(bytes);
        }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            self.buffers.give_back(bytes);
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.give_back(self.bytes.take());
    }
}

impl<'a, S> Rewind<'a, S> {
    /// Keeps there what is taken of `source`.
    pub(crate) fn new(source: &'a mut S, kept: &'a Kept<'a>) -> Self {
        Self { source, kept, lent: Vec::new(), begins_again: false, trailers: None, is_whole: false }
    }

    /// Begins the body again; `false` if it cannot be had a second time.
    pub(crate) fn begin_again(&mut self) -> bool {
        self.take_back();
        self.begins_again = self.kept.length() > 0;
        !self.kept.is_lost.get()
    }

    fn take_back(&mut self) {
        if self.lent.capacity() > 0 {
            self.kept.put(std::mem::take(&mut self.lent));
        }
    }
}

impl<S> Drop for Rewind<'_, S> {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl<S: RequestSource> BodySource for Rewind<'_, S> {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        self.take_back();
        let Self { source, kept, lent, begins_again, trailers, is_whole } = self;
        if std::mem::take(begins_again) {
            if kept.is_lost.get() {
                // The answer has come first: without its beginning nobody shall take the rest for the whole.
                return Err(SourceError::Closed);
            }
            *lent = kept.bytes.take();
            return Ok(Some(Piece::Borrowed(lent)));
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

    fn is_followed(&self) -> bool {
        self.source.is_followed()
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

        fn is_followed(&self) -> bool {
            false
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
        let kept = Kept::new(&buffers, 13);
        let mut source = Rewind::new(&mut pieces, &kept);
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
        let kept = Kept::new(&buffers, 12);
        let mut source = Rewind::new(&mut pieces, &kept);
        assert_eq!(rest(&mut source).await, b"one two three");
        assert!(!source.begin_again());
    }

    #[tokio::test]
    async fn what_nobody_asks_for_again_is_let_go_of_at_once_and_not_kept_from_then_on() {
        let buffers = Buffers::default();
        let kept = Kept::new(&buffers, 100);
        let mut pieces = Pieces(vec![b"one ", b"two ", b"three"]);
        let mut source = Rewind::new(&mut pieces, &kept);
        assert_eq!(source.piece().await.unwrap().unwrap().bytes(), b"one ");
        kept.lose();
        assert_eq!(kept.bytes.borrow().capacity(), 0);
        assert_eq!(rest(&mut source).await, b"two three");
        assert_eq!(kept.bytes.borrow().capacity(), 0);
        assert!(!source.begin_again());
    }

    #[tokio::test]
    async fn what_is_being_handed_out_again_is_let_go_of_afterwards() {
        let buffers = Buffers::default();
        let kept = Kept::new(&buffers, 100);
        let mut pieces = Pieces(vec![b"one ", b"two ", b"three"]);
        let mut source = Rewind::new(&mut pieces, &kept);
        assert_eq!(source.piece().await.unwrap().unwrap().bytes(), b"one ");
        assert!(source.begin_again());
        let piece = source.piece().await.unwrap().unwrap();
        kept.lose();
        assert_eq!(piece.bytes(), b"one ");
        assert_eq!(rest(&mut source).await, b"two three");
        assert_eq!((source.lent.capacity(), kept.bytes.borrow().capacity()), (0, 0));
    }
    #[tokio::test]
    async fn a_body_whose_beginning_was_let_go_of_is_not_gone_on_with() {
        let buffers = Buffers::default();
        let kept = Kept::new(&buffers, 100);
        let mut pieces = Pieces(vec![b"one ", b"two "]);
        let mut source = Rewind::new(&mut pieces, &kept);
        assert_eq!(source.piece().await.unwrap().unwrap().bytes(), b"one ");
        assert!(source.begin_again());
        kept.lose();
        assert!(matches!(source.piece().await, Err(SourceError::Closed)));
    }
}
