//! HTTP answers that look well and are not, and the site that is meant.

use veza_dr_core::{Health, Observation};
use veza_dr_failover::probe::{HttpProbe, Identity, JsonExpectation, Trust};

use crate::{
    look,
    servers::{anywhere, http, https, listen},
};

async fn seen(probe: HttpProbe) -> Observation {
    look(&probe, 5).await.unwrap()
}

#[tokio::test]
async fn a_good_answer_is_told_from_one_that_only_looks_good() {
    let server = http(listen(anywhere()), "primary");
    let probe = |path: &str| HttpProbe::new(&format!("http://{}{path}", server.at)).unwrap();
    let json = |path: &str, value: &str| JsonExpectation::equals(path, value);

    let good = seen(probe("/health").with_json(json("status", "ok")).with_json(json("checks.0.database", "up"))).await;
    assert_eq!(good.health, Health::Healthy, "{good:?}");

    let wrong = seen(probe("/health").with_json(json("checks.0.database", "down"))).await;
    assert_eq!(
        (wrong.health, wrong.detail.as_str()),
        (Health::Degraded, "its answer has \"up\" at `checks.0.database`, not \"down\"")
    );

    let page = seen(probe("/error-page").with_body("\"status\":\"ok\"")).await;
    assert_eq!(page.health, Health::Degraded, "{page:?}");
    assert!(page.detail.contains("does not contain") && page.detail.contains("Something went wrong"), "{page:?}");
    let page = seen(probe("/error-page").with_json(json("status", "ok"))).await;
    assert!(page.health == Health::Degraded && page.detail.contains("is no JSON"), "{page:?}");

    let broken = seen(probe("/broken")).await;
    assert_eq!(
        (broken.health, broken.detail.as_str()),
        (Health::Down, "it answers 503 Service Unavailable: no database")
    );
    // What a redirect leads to may be another site.
    let moved = seen(probe("/moved")).await;
    assert!(moved.health == Health::Degraded && moved.detail.contains("307"), "{moved:?}");
    let moved = seen(probe("/moved").with_status(307)).await;
    assert_eq!(moved.health, Health::Healthy, "{moved:?}");
    let endless = seen(probe("/endless").with_body("y")).await;
    assert!(endless.health == Health::Degraded && endless.detail.len() < 300, "{endless:?}");
}

#[tokio::test]
async fn the_address_is_asked_and_not_what_the_name_resolves_to() {
    let server = http(listen(anywhere()), "standby");
    let url = format!("http://api.veza.test:{}/health", server.at.port());
    let probe = HttpProbe::new(&url).unwrap().at_address("127.0.0.1").with_token("t-91".to_owned().into());
    assert!(!format!("{probe:?}").contains("t-91"), "the token is shown");
    let host = format!("api.veza.test:{}", server.at.port());
    let probe = probe
        .with_json(JsonExpectation::equals("host", host))
        .with_json(JsonExpectation::equals("token", "Bearer t-91"));
    let found = seen(probe.clone()).await;
    assert_eq!(found.health, Health::Healthy, "{found:?}");
    // Without the address the name resolves to nothing: that says nothing about the service.
    let unresolved = look(&HttpProbe::new(&url).unwrap(), 5).await.unwrap_err();
    assert!(unresolved.to_string().contains("does not resolve"), "{unresolved:?}");
}

#[tokio::test]
async fn another_site_that_answers_at_the_address_counts_as_down() {
    let server = http(listen(anywhere()), "primary");
    for identity in [
        |site: &str| Identity::Header("x-veza-site".into(), site.into()),
        |site: &str| Identity::Json("site".into(), site.into()),
    ] {
        let probe =
            |site| HttpProbe::new(&format!("http://{}/health", server.at)).unwrap().with_identity(identity(site));
        assert_eq!(seen(probe("primary")).await.health, Health::Healthy);
        let other = seen(probe("standby")).await;
        assert_eq!(other.health, Health::Down);
        assert!(other.detail.contains("site primary answers here, not standby"), "{other:?}");
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_degraded_and_one_past_it_or_of_another_authority_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let probe = |server: &crate::servers::Running, ca: &std::path::Path| {
        let url = format!("https://api.veza.test:{}/", server.at.port());
        HttpProbe::new(&url).unwrap().at_address("127.0.0.1").with_trust(Trust::of_file(ca).unwrap()).with_body("named")
    };
    let ca = dir.path().join("long");
    let long = https(listen(anywhere()), &ca, 90);
    let found = seen(probe(&long, &ca)).await;
    assert_eq!(
        (found.health, found.detail.as_str()),
        (Health::Healthy, "it answers 200 OK, its certificate is valid for 90 days")
    );
    // The same server for somebody who trusts another authority.
    let other = dir.path().join("short");
    let short = https(listen(anywhere()), &other, 5);
    let wrong = seen(probe(&long, &other)).await;
    assert!(wrong.health == Health::Down && wrong.detail.contains("invalid peer certificate"), "{wrong:?}");
    let near = seen(probe(&short, &other)).await;
    assert!(near.health == Health::Degraded && near.detail.contains("valid for 5 days"), "{near:?}");
    assert_eq!(seen(probe(&short, &other).with_certificate_days(3)).await.health, Health::Healthy);
    let ca = dir.path().join("gone");
    let gone = https(listen(anywhere()), &ca, -2);
    let past = seen(probe(&gone, &ca)).await;
    assert!(past.health == Health::Down && past.detail.to_lowercase().contains("expired"), "{past:?}");
}
