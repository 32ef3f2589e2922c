//! From what the engine says of a container to the state of a service.

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum};
use chrono::{DateTime, Utc};
use veza_dr_core::Health;

use super::{
    control::ServiceState,
    engine::{Container, Restart},
    networks::is_apart,
};

/// The state of one container of a service. `one_shot`: the Compose file says that others wait for its end.
pub(super) fn state_of(container: &Container, seen: &ContainerInspectResponse, one_shot: bool) -> ServiceState {
    let state = seen.state.clone().unwrap_or_default();
    let status = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    let check = state
        .health
        .as_ref()
        .and_then(|h| h.status)
        .filter(|h| !matches!(h, HealthStatusEnum::EMPTY | HealthStatusEnum::NONE));
    let running = status == ContainerStateStatusEnum::RUNNING;
    let ended = status == ContainerStateStatusEnum::EXITED && state.exit_code == Some(0);
    let finished = ended && (one_shot || looks_like_a_job(seen));
    let health = match (running, check) {
        _ if finished => Health::Healthy,
        (true, None | Some(HealthStatusEnum::HEALTHY)) => Health::Healthy,
        (true, Some(HealthStatusEnum::STARTING)) => Health::Degraded,
        _ => Health::Down,
    };
    let since = if running { &state.started_at } else { &state.finished_at };
    ServiceState {
        service: container.service.clone(),
        container: Some(container.name.clone()),
        state: status.to_string(),
        health,
        exit_code: state.exit_code.filter(|_| !running),
        restarts: seen.restart_count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        // The engine's word for never is the year 1.
        since: since.as_deref().and_then(time).filter(|at| at.timestamp() > 0),
        image: seen.image.clone(),
        finished,
        apart: is_apart(seen),
    }
}

/// Whether a health check of its own says how it is.
pub(super) fn has_check(seen: &ContainerInspectResponse) -> bool {
    seen.state.as_ref().and_then(|s| s.health.as_ref()).is_some()
}

/// A container that ended well is a job that is done when nothing about it looks like a server: it is not to be
/// restarted when it ends, has no health check, and offers no port.
fn looks_like_a_job(seen: &ContainerInspectResponse) -> bool {
    let restart = Restart::of(seen);
    let config = seen.config.clone().unwrap_or_default();
    let offers = config.exposed_ports.is_some_and(|p| !p.is_empty())
        || seen.host_config.as_ref().and_then(|h| h.port_bindings.as_ref()).is_some_and(|p| !p.is_empty());
    matches!(restart.word.as_str(), "no" | "on-failure") && !has_check(seen) && !offers
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.to_utc())
}

/// The worse of two containers of one service.
pub(super) fn worse(a: ServiceState, b: ServiceState) -> ServiceState {
    let rank = |s: &ServiceState| match s.health {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Down => 2,
    };
    if rank(&b) > rank(&a) { b } else { a }
}
