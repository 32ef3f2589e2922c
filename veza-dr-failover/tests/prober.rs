//! Probing at a fixed rate: what hangs delays nothing, what could not be made is missing, what nobody could see is unknown; and
//! what it costs.

#![cfg(feature = "testing")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a failure is what it is for, and figures are printed"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{
    Clock, Cx, Error, ErrorKind, Health, Observation, Result, ServiceProbe,
    testing::{MemoryProbe, SimulatedClock},
};
use veza_dr_failover::measure::{Availability, AvailabilityLog, Prober, Vantage};

const UP: u8 = 0;
const HANGS: u8 = 1;
const SILENT: u8 = 2;
const REFUSES: u8 = 3;
const CANNOT_TELL: u8 = 4;

/// A service in a state that the test sets.
#[derive(Debug, Clone, Default)]
struct Service {
    state: Arc<AtomicU8>,
    asked: Arc<AtomicU64>,
}

impl Service {
    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

#[async_trait]
impl ServiceProbe for Service {
    fn name(&self) -> &str {
        "service"
    }

    async fn observe(&self, _: &Cx) -> Result<Observation> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let seen = |health, reached| {
            Ok(Observation::new(health, "", DateTime::<Utc>::UNIX_EPOCH, Duration::ZERO).with_reached(reached))
        };
        match self.state.load(Ordering::SeqCst) {
            UP => seen(Health::Healthy, true),
            HANGS => std::future::pending().await,
            SILENT => seen(Health::Down, false),
            REFUSES => seen(Health::Down, true),
            _ => Err(Error::new(ErrorKind::Unavailable, "the probe itself could not run")),
        }
    }
}

const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

/// What is seen while the service goes through these states, each for so many seconds.
fn seen(rate: Duration, states: &[(u8, u64)], control: Option<Health>) -> (Availability, u64, Vec<Option<bool>>) {
    let service = Service::default();
    let (states, asked, probed) = (states.to_vec(), service.asked.clone(), service.clone());
    let (seen, served) = SimulatedClock::run(START, |clock| async move {
        let log = Arc::new(AvailabilityLog::in_memory(Duration::from_secs(86_400)));
        let control = control.map(|health| {
            // One that is silent, as `MemoryProbe` has no way to be.
            let service = Service::default();
            service.set(if health == Health::Healthy { UP } else { SILENT });
            vec![Arc::new(service) as Arc<dyn ServiceProbe>]
        });
        let vantage = Vantage::new("here", vec![Arc::new(probed.clone())]).with_control(control.unwrap_or_default());
        let prober = Prober::new(vec![vantage], rate, log.clone()).unwrap();
        let prober = prober.with_patience(Duration::from_secs(4)).with_clock(Arc::new(clock));
        let cx = Cx::background();
        let running = tokio::spawn({
            let cx = cx.clone();
            async move { prober.run(&cx).await }
        });
        let mut served = Vec::new();
        let mut total = 0;
        for (state, seconds) in states {
            probed.set(state);
            // Between two looks, so that it is clear which ones see the change.
            clock.pass(Duration::from_secs(seconds) - Duration::from_millis(if total == 0 { 20 } else { 0 })).await;
            total += seconds;
            served.push(log.is_served(clock.now()));
        }
        probed.set(UP);
        // What waits has its end.
        clock.pass(Duration::from_secs(10)).await;
        let seen = log.over(START, START + TimeDelta::seconds(i64::try_from(total).unwrap()));
        cx.cancel();
        running.await.unwrap();
        (seen, served)
    });
    (seen, asked.load(Ordering::SeqCst), served)
}

#[test]
fn a_service_that_hangs_does_not_slow_the_looks_down() {
    let (a, asked, served) = seen(Duration::from_millis(100), &[(UP, 100), (HANGS, 60), (UP, 40)], None);
    // 40 wait at a time: the patience of 4 s at 10 a second. Every look was made.
    assert_eq!((a.good, a.bad, a.missing, a.unknown), (1400, 600, 0, 0));
    assert_eq!((a.outage_seconds, a.longest_gap_seconds), (60.0, 60.0));
    assert_eq!(a.percent(), Some(70.0));
    assert!(asked >= 2000, "{asked}");
    assert_eq!(served, [Some(true), Some(false), Some(true)]);
}

#[test]
fn what_could_not_be_made_is_missing_and_bad() {
    // 20 a second that hang for 4 s would be 80 at a time; 64 may.
    let (a, ..) = seen(Duration::from_millis(50), &[(UP, 20), (HANGS, 20), (UP, 20)], None);
    assert!(a.missing > 0 && a.bad > 0, "{a:?}");
    assert_eq!((a.good + a.bad + a.missing, a.unknown), (1200, 0));
    // Those that hang still take up the room of the first looks after they began to answer again.
    assert!((400..420).contains(&(a.bad + a.missing)) && (20.0..21.0).contains(&a.outage_seconds), "{a:?}");
}

#[test]
fn silence_is_the_services_fault_unless_nothing_else_answers_either() {
    let second = Duration::from_secs(1);
    let states = [(UP, 50), (SILENT, 50)];
    let (a, ..) = seen(second, &states, None);
    assert_eq!((a.good, a.bad, a.unknown), (50, 50, 0));
    let (a, ..) = seen(second, &states, Some(Health::Healthy));
    assert_eq!((a.good, a.bad, a.unknown), (50, 50, 0), "something else answers: it is the service");
    let (a, _, served) = seen(second, &states, Some(Health::Down));
    assert_eq!((a.good, a.bad, a.unknown, a.percent()), (50, 0, 50, Some(100.0)), "cut off: nobody can tell");
    assert_eq!((a.outage_seconds, a.unknown_seconds, served[1]), (0.0, 50.0, Some(true)));
    // Refused is an answer: whoever hears it is not cut off.
    let (a, ..) = seen(second, &[(UP, 50), (REFUSES, 50)], Some(Health::Down));
    assert_eq!((a.bad, a.unknown), (50, 0));
    let (a, ..) = seen(second, &[(UP, 50), (CANNOT_TELL, 50)], None);
    assert_eq!((a.bad, a.unknown), (0, 50));
}

#[test]
fn two_vantage_points_of_which_one_is_cut_off() {
    let seen = SimulatedClock::run(START, |clock| async move {
        let log = Arc::new(AvailabilityLog::in_memory(Duration::from_secs(3600)));
        let (near, far) = (Service::default(), Service::default());
        let cut = Service::default();
        far.set(SILENT);
        cut.set(SILENT);
        let vantages = vec![
            Vantage::new("near", vec![Arc::new(near.clone())]),
            Vantage::new("far", vec![Arc::new(far)]).with_control(vec![Arc::new(cut)]),
        ];
        let prober = Prober::new(vantages, Duration::from_secs(1), log.clone()).unwrap();
        let (cx, prober) = (Cx::background(), prober.with_clock(Arc::new(clock)));
        let running = tokio::spawn({
            let cx = cx.clone();
            async move { prober.run(&cx).await }
        });
        clock.pass(Duration::from_millis(99_500)).await;
        near.set(REFUSES);
        clock.pass(Duration::from_secs(100)).await;
        cx.cancel();
        running.await.unwrap();
        log.over(START, START + TimeDelta::seconds(200))
    });
    assert_eq!((seen.good, seen.bad, seen.unknown), (100, 100, 200));
    assert_eq!((seen.outage_seconds, seen.percent()), (100.0, Some(50.0)), "the one that sees decides");
}

#[test]
fn a_rate_that_makes_no_sense_is_refused() {
    let log = || Arc::new(AvailabilityLog::in_memory(Duration::from_secs(60)));
    let probe =
        || vec![Vantage::new("x", vec![Arc::new(MemoryProbe::new("m", Health::Healthy)) as Arc<dyn ServiceProbe>])];
    assert!(Prober::new(probe(), Duration::from_millis(1), log()).is_err());
    assert!(Prober::new(Vec::new(), Duration::from_secs(1), log()).is_err());
}

/// Processor time of this thread, in seconds.
#[cfg(feature = "http")]
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: u64 = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(feature = "http")]
#[test]
fn ten_http_probes_a_second_cost_little() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    // On threads of its own: only the prober's is measured.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (share, seen) = runtime.block_on(async {
        let log = Arc::new(AvailabilityLog::in_memory(Duration::from_secs(3600)));
        let probe = veza_dr_failover::probe::HttpProbe::new(&url).unwrap().with_body("ok");
        let vantage = Vantage::new("here", vec![Arc::new(probe)]);
        let prober = Prober::new(vec![vantage], Duration::from_millis(100), log.clone()).unwrap();
        let cx = Cx::background();
        let stop = cx.clone();
        // Warm before it is measured.
        let measured = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = cpu();
            tokio::time::sleep(Duration::from_secs(8)).await;
            let used = cpu() - before;
            stop.cancel();
            used / 8.0
        };
        let (share, ()) = tokio::join!(measured, prober.run(&cx));
        let now = Utc::now();
        (share, log.over(now - TimeDelta::seconds(60), now))
    });
    println!("{:.3} % of a core at {} probes in 9 s", share * 100.0, seen.counted());
    // A machine that is busy may hold the process up: what it could not see then is unknown.
    assert!(seen.counted() + seen.unknown >= 80 && seen.good >= 30, "{seen:?}");
    // A hundredth of a core in a release; without optimisation it costs several times as much.
    let limit = if cfg!(debug_assertions) { 0.05 } else { 0.01 };
    assert!(share < limit, "{:.3} % of a core", share * 100.0);
}
