//! What happens when there is no certificate.

use std::time::Duration;

use cutover_controller::certificates::LOOK;
use cutover_core::tls::{Acme, CertificateSource};
use tokio::time::sleep;

use crate::world::{Answer, HOUR, MINUTE, World, acme, at, by, tenant};

fn refusing(answer: Answer) -> World {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    world.outside().answers.insert(Acme::LETS_ENCRYPT.to_owned(), answer);
    world
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_http_and_tls_take_turns() {
    let world = refusing(Answer::Refuse(None));
    let life = world.live(LOOK);
    sleep(HOUR * 4).await;
    assert_eq!(world.minutes(), [0, 1, 6, 21, 51, 111, 171, 231]);
    let challenges: Vec<_> = world.outside().asked.iter().map(|asked| asked.challenge).take(4).collect();
    assert_eq!(challenges, ["http-01", "tls-alpn-01", "http-01", "tls-alpn-01"]);
    let standing = life.standing("a.dev");
    assert_eq!((standing.failures, standing.last_error.as_deref()), (8, Some("refused")));
    world.outside().answers.clear();
    sleep(HOUR).await;
    let standing = life.standing("a.dev");
    assert_eq!((standing.failures, standing.last_error, standing.next_attempt), (0, None, None));
    assert_eq!(world.served(), ["a.dev"]);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_wants_to_be_left_in_peace_is() {
    let world = refusing(Answer::Refuse(Some(HOUR * 3)));
    let _life = world.live(LOOK);
    sleep(HOUR * 4).await;
    assert_eq!(world.minutes(), [0, 180]);
}

#[tokio::test(start_paused = true)]
async fn who_changes_what_is_ordered_does_not_wait_for_the_end_of_a_pause() {
    let world = refusing(Answer::Refuse(None));
    let _life = world.live(LOOK);
    sleep(MINUTE * 30).await;
    world.outside().answers.clear();
    let contact = Acme { contact: Some("a@a.dev".to_owned()), ..Acme::default() };
    world.outside().tenants = vec![tenant("shop", &["a.dev"], by(contact))];
    sleep(LOOK * 2).await;
    assert_eq!(world.served(), ["a.dev"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_but_another_authority_ends_the_peace_that_one_wants() {
    let world = refusing(Answer::Refuse(Some(HOUR * 3)));
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    let contact = Acme { contact: Some("a@a.dev".to_owned()), ..Acme::default() };
    world.outside().tenants = vec![tenant("shop", &["a.dev"], by(contact))];
    sleep(MINUTE).await;
    assert!(life.keeper.ask("a.dev").await);
    sleep(MINUTE).await;
    assert_eq!(world.minutes(), [0]);
    let standing = life.standing("a.dev");
    assert_eq!(standing.last_error.as_deref(), Some("refused"), "people are told why, and until when");
    assert_eq!(standing.next_attempt, Some(at(HOUR * 3)));
    // What is recorded holds for the next keeper too.
    drop(life);
    let life = world.live(LOOK);
    assert!(!life.keeper.ask("a.dev").await, "it has not looked yet");
    sleep(MINUTE).await;
    assert!(life.keeper.ask("a.dev").await);
    sleep(HOUR * 3).await;
    assert_eq!(world.minutes(), [0, 180]);

    world.outside().tenants = vec![tenant("shop", &["a.dev"], by(acme("https://two/dir")))];
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["a.dev"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_and_cannot_be_kept_is_not_ordered_again_but_kept_later() {
    let world = refusing(Answer::GiveAfter(MINUTE));
    let fill: [fn(&World, bool); 2] =
        [|world, full| world.outside().unputtable = full, |world, full| world.outside().full = full];
    let life = world.live(LOOK);
    for (round, fill) in fill.into_iter().enumerate() {
        sleep(MINUTE / 2).await;
        fill(&world, true);
        sleep(HOUR * 3).await;
        let error = life.standing("a.dev").last_error.unwrap();
        assert!(error.starts_with("it was given, but could not be kept yet: "), "{error}");
        // Nor does a person's wish have another one ordered.
        assert!(life.keeper.ask("a.dev").await);
        sleep(HOUR * 3).await;
        assert_eq!(world.outside().asked.len(), round + 1);
        fill(&world, false);
        sleep(LOOK * 2).await;
        assert_eq!(world.served(), ["a.dev"]);
        sleep(HOUR * 3).await;
        assert_eq!(world.outside().asked.len(), round + 1);
        let standing = life.standing("a.dev");
        assert_eq!((standing.last_error, standing.failures, standing.next_attempt), (None, 0, None));
        world.outside().shelf.clear();
        sleep(LOOK * 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_can_never_be_kept_is_ordered_again_after_a_day_and_a_half() {
    let world = refusing(Answer::Give);
    world.outside().unputtable = true;
    let _life = world.live(LOOK);
    sleep(HOUR * 24 * 7).await;
    assert_eq!(world.minutes(), [0, 36 * 60, 72 * 60, 108 * 60, 144 * 60]);
}

#[tokio::test(start_paused = true)]
async fn one_certificate_that_fails_does_not_keep_others_of_the_same_authority_waiting() {
    let one = Acme { each_host: true, ..acme("https://one/dir") };
    let world = World::with(vec![tenant("shop", &["a.dev", "b.dev"], by(one))]);
    world.outside().refused.push("a.dev".to_owned());
    let _life = world.live(LOOK);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.served(), ["b.dev"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ordered_that_could_not_be_kept() {
    let world = refusing(Answer::Give);
    world.outside().full = true;
    let life = world.live(LOOK);
    sleep(MINUTE / 2).await;
    assert_eq!(world.minutes(), [0; 0]);
    let error = life.standing("a.dev").last_error.unwrap();
    assert_eq!(error, "it was not ordered, for it could not be kept: no space left on device");
    world.outside().full = false;
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["a.dev"]);
    assert_eq!(world.outside().recorded["a.dev"].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_cannot_be_looked_at_is_not_an_empty_one() {
    let world = refusing(Answer::Give);
    let _life = world.live(LOOK);
    sleep(MINUTE).await;
    world.outside().unreadable = true;
    sleep(HOUR * 3).await;
    world.outside().unreadable = false;
    sleep(HOUR * 3).await;
    assert_eq!(world.minutes(), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_removes_from_the_shelf_is_ordered_again_but_not_in_a_hurry() {
    let world = refusing(Answer::Give);
    let _life = world.live(LOOK);
    for _ in 0..180 {
        sleep(MINUTE).await;
        world.outside().shelf.clear();
    }
    assert_eq!(world.minutes(), [0, 60, 120]);
}
