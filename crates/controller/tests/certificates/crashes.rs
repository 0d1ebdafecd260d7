//! A keeper that ends at any moment, and the next one.

use std::time::Duration;

use cutover_controller::certificates::LOOK;
use cutover_core::tls::{Acme, CertificateSource};
use tokio::time::sleep;

use crate::world::{Answer, HOUR, MINUTE, World, tenant};

fn world(answer: Answer) -> World {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    world.outside().answers.insert(Acme::LETS_ENCRYPT.to_owned(), answer);
    world
}

#[tokio::test(start_paused = true)]
async fn the_next_keeper_remembers_the_pause() {
    let world = world(Answer::Refuse(None));
    // One that is started again and again every half a minute does not ask more often.
    for _ in 0..240 {
        let life = world.live(LOOK);
        sleep(MINUTE / 2).await;
        drop(life);
    }
    assert_eq!(world.minutes(), [0, 1, 6, 21, 51, 111]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_waited_for_is_not_repeated_in_a_hurry() {
    let world = world(Answer::Hang);
    drop_after(&world, Duration::from_secs(10)).await;
    world.outside().answers.clear();
    let _life = world.live(LOOK);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(world.minutes(), [0]);
    sleep(MINUTE).await;
    assert_eq!((world.minutes(), world.served()), (vec![0, 1], vec!["a.dev".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_killed_in_every_order_asks_less_and_less() {
    let world = world(Answer::Hang);
    for _ in 0..240 {
        drop_after(&world, MINUTE).await;
    }
    assert_eq!(world.minutes(), [0, 1, 6, 21, 51, 111, 171, 231]);
    world.outside().answers.clear();
    let life = world.live(LOOK);
    sleep(HOUR * 2).await;
    assert_eq!((world.served(), life.standing("a.dev").failures), (vec!["a.dev".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_and_lost_before_it_was_kept_is_not_ordered_again_on_the_same_day() {
    let world = world(Answer::Give);
    world.outside().unputtable = true;
    for _ in 0..10 {
        drop_after(&world, MINUTE).await;
    }
    world.outside().unputtable = false;
    let life = world.live(LOOK);
    sleep(HOUR * 24).await;
    assert_eq!(world.minutes(), [0]);
    let error = life.standing("a.dev").last_error.unwrap();
    assert_eq!(error, "it was given, but could not be kept yet: read-only file system");
    sleep(HOUR * 24).await;
    assert_eq!((world.minutes().len(), world.served()), (2, vec!["a.dev".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_was_put_on_the_shelf_and_not_recorded_is_found_there() {
    let world = world(Answer::GiveAfter(MINUTE));
    let life = world.live(LOOK);
    sleep(MINUTE / 2).await;
    world.outside().forgetful = true;
    sleep(MINUTE).await;
    drop(life);
    assert!(world.outside().recorded["a.dev"].served.is_none(), "the last that was recorded is the order");
    world.outside().forgetful = false;
    let life = world.live(LOOK);
    sleep(HOUR * 5).await;
    assert_eq!(world.minutes(), [0]);
    let standing = life.standing("a.dev");
    assert_eq!(standing.issued_by.as_deref(), Some(Acme::LETS_ENCRYPT));
    assert!(standing.renew_at.is_some() && standing.served.is_some());
}

#[tokio::test(start_paused = true)]
async fn with_everything_forgotten_what_is_on_the_shelf_is_kept() {
    let world = world(Answer::Give);
    drop_after(&world, MINUTE).await;
    world.outside().recorded.clear();
    let _life = world.live(LOOK);
    sleep(HOUR * 5).await;
    assert_eq!(world.minutes(), [0]);
}

async fn drop_after(world: &World, time: Duration) {
    let life = world.live(LOOK);
    sleep(time).await;
    drop(life);
}
