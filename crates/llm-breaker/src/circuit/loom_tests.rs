//! The interleavings of a circuit's word, its lock and its hold.

use llm_core::sync::Arc;

use super::*;
use crate::config::FailureRate;

fn setup(failures: u32, probes: u32) -> (Arc<Circuit>, Arc<CircuitBreakerConfig>) {
    let config = CircuitBreakerConfig {
        failures,
        success_threshold: 1,
        success_share: 1.0,
        half_open_requests: probes,
        failure_rate: None,
        anomaly: None,
        ..CircuitBreakerConfig::default()
    };
    (Arc::new(Circuit::new(&config, 1)), Arc::new(config))
}

const NOW: Tick = Tick::from_nanos(1_000_000_000);
const LATER: Tick = Tick::from_nanos(1_000_000_000_000);

fn trip(circuit: &Circuit, config: &CircuitBreakerConfig) -> u32 {
    let (generation, _) = circuit.admit(config, NOW).unwrap();
    circuit.record(config, generation, Outcome::Failure, None, NOW);
    generation
}

#[test]
fn half_open_admits_no_more_calls_than_it_has_probes() {
    loom::model(|| {
        let (circuit, config) = setup(1, 1);
        trip(&circuit, &config);
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || circuit.admit(&config, LATER).is_ok())
        };
        let mine = circuit.admit(&config, LATER).is_ok();
        assert!(mine != other.join().unwrap(), "exactly one of the two is the probe");
    });
}

#[test]
fn a_late_success_does_not_close_a_circuit_opened_since() {
    loom::model(|| {
        let (circuit, config) = setup(1, 1);
        let (early, _) = circuit.admit(&config, NOW).unwrap();
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || {
                trip(&circuit, &config);
                circuit.admit(&config, LATER).unwrap();
            })
        };
        circuit.record(&config, early, Outcome::Success, None, NOW);
        other.join().unwrap();
        assert_eq!(circuit.look(LATER).state, CircuitState::HalfOpen);
    });
}

#[test]
fn a_late_failure_does_not_count_in_a_circuit_that_was_reset_since() {
    loom::model(|| {
        let (circuit, config) = setup(1, 1);
        let (early, _) = circuit.admit(&config, NOW).unwrap();
        let other = {
            let circuit = circuit.clone();
            loom::thread::spawn(move || circuit.reset().is_some())
        };
        circuit.record(&config, early, Outcome::Failure, None, NOW);
        other.join().unwrap();
        let look = circuit.look(NOW);
        assert_eq!((look.state, look.failures), (CircuitState::Closed, 0));
    });
}

#[test]
fn a_late_probe_does_not_count_in_the_next_round() {
    const LATEST: Tick = Tick::from_nanos(1_000_000_000_000_000);
    loom::model(|| {
        let (circuit, mut config) = setup(1, 2);
        Arc::get_mut(&mut config).unwrap().success_threshold = 3;
        trip(&circuit, &config);
        let (first, _) = circuit.admit(&config, LATER).unwrap();
        circuit.record(&config, first, Outcome::Success, None, LATER);
        let (one, _) = circuit.admit(&config, LATER).unwrap();
        let (two, _) = circuit.admit(&config, LATER).unwrap();
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || {
                circuit.record(&config, one, Outcome::Failure, None, LATER);
                circuit.admit(&config, LATEST).unwrap().0
            })
        };
        circuit.record(&config, two, Outcome::Success, None, LATER);
        let next = other.join().unwrap();
        circuit.record(&config, next, Outcome::Success, None, LATEST);
        let (next, _) = circuit.admit(&config, LATEST).unwrap();
        circuit.record(&config, next, Outcome::Success, None, LATEST);
        assert_eq!(circuit.look(LATEST).state, CircuitState::HalfOpen, "two successes of three");
    });
}

#[test]
fn a_probe_that_is_dropped_frees_its_place_for_another_thread() {
    loom::model(|| {
        let (circuit, config) = setup(1, 1);
        trip(&circuit, &config);
        let (probe, _) = circuit.admit(&config, LATER).unwrap();
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || circuit.admit(&config, LATER).is_ok())
        };
        circuit.record(&config, probe, Outcome::Ignored, None, LATER);
        let theirs = other.join().unwrap();
        assert!(theirs != circuit.admit(&config, LATER).is_ok(), "the place is there once");
    });
}

#[test]
fn of_two_failures_at_the_threshold_one_opens_the_circuit() {
    loom::model(|| {
        let (circuit, config) = setup(2, 1);
        let fail = |circuit: &Circuit, config: &CircuitBreakerConfig| {
            circuit.record(config, 0, Outcome::Failure, None, NOW).is_some()
        };
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || fail(&circuit, &config))
        };
        let mine = fail(&circuit, &config);
        assert!(mine != other.join().unwrap());
        assert_eq!(circuit.look(NOW).state, CircuitState::Open);
    });
}

#[test]
fn after_a_success_two_probes_may_be_out_and_no_third() {
    loom::model(|| {
        let (circuit, mut config) = setup(1, 4);
        Arc::get_mut(&mut config).unwrap().success_threshold = 3;
        trip(&circuit, &config);
        let (first, _) = circuit.admit(&config, LATER).unwrap();
        circuit.record(&config, first, Outcome::Success, None, LATER);
        let two = |circuit: &Circuit, config: &CircuitBreakerConfig| {
            (0..2).filter(|_| circuit.admit(config, LATER).is_ok()).count()
        };
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || two(&circuit, &config))
        };
        let mine = two(&circuit, &config);
        assert_eq!(mine + other.join().unwrap(), 2);
    });
}

#[test]
fn of_two_holds_the_later_one_stays() {
    loom::model(|| {
        let (circuit, config) = setup(1, 1);
        let other = {
            let circuit = circuit.clone();
            loom::thread::spawn(move || circuit.hold_until(LATER))
        };
        circuit.hold_until(Tick::from_nanos(2_000_000_000));
        assert!(circuit.admit(&config, NOW).is_err(), "held by one or by both");
        other.join().unwrap();
        assert_eq!(circuit.admit(&config, NOW).unwrap_err().retry_after, LATER.since(NOW));
        assert_eq!(circuit.look(NOW).state, CircuitState::Closed);
    });
}

#[test]
fn failures_that_reach_the_share_together_open_the_circuit_once() {
    loom::model(|| {
        let (circuit, mut config) = setup(0, 1);
        let rate = FailureRate { min_calls: 2, ..FailureRate::default() };
        Arc::get_mut(&mut config).unwrap().failure_rate = Some(rate);
        let fail = |circuit: &Circuit, config: &CircuitBreakerConfig| {
            u32::from(circuit.record(config, 0, Outcome::Failure, None, NOW).is_some())
        };
        let other = {
            let (circuit, config) = (circuit.clone(), config.clone());
            loom::thread::spawn(move || fail(&circuit, &config))
        };
        let mine = fail(&circuit, &config);
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_eq!(circuit.look(NOW).state, CircuitState::Open);
    });
}
