//! A controller whose place another has taken: what it still decides is not carried out.

use crate::lives::Lives;

const SHOP: &str = "shop";

#[test]
fn a_controller_that_was_replaced_starts_nothing_stops_nothing_and_moves_no_traffic() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().deposed = false;
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        assert!(life.rests(60).await);
        let seen = || {
            let world = life.outside.world();
            let alive: Vec<_> = world.alive().into_iter().collect();
            (world.starts, alive, world.routed())
        };
        let before = seen();
        life.outside.world().deposed = true;
        life.opened(SHOP, "v3-good", 0).await;
        let reason = life.ended(SHOP).await.reason.unwrap();
        assert!(reason.contains("another controller has taken over"), "{reason}");
        life.pass(60.0).await;
        assert_eq!(seen(), before);
    });
    lives.assert_kept();
}
