//! The waits of a script.

use std::time::Duration;

use tokio::time::sleep;

/// Waits for `span`, a millisecond longer at most: the runtime's timer is that coarse.
pub(super) async fn pass(span: Option<Duration>) {
    if let Some(span) = span.filter(|span| !span.is_zero()) {
        sleep(span).await;
    }
}

/// Waits for `span` as exactly as the system can: what is slower by a few microseconds before an upstream is to be seen
/// behind it.
pub(super) async fn pass_exactly(span: Option<Duration>) {
    #[cfg(target_os = "linux")]
    if let Some(span) = span.filter(|span| !span.is_zero())
        && alarm::after(span).await.is_ok()
    {
        return;
    }
    pass(span).await;
}

#[cfg(target_os = "linux")]
mod alarm {
    use std::io;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// Waits by a timer of the kernel's, which becomes readable as a pipe does.
    ///
    /// # Errors
    /// When there is none to be had, before anything was waited for.
    pub(super) async fn after(span: Duration) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(span).map_err(io::Error::other)?,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
        Receiver::from_owned_fd_unchecked(timer)?.readable().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn no_wait_is_too_short() {
        for micros in [1, 300, 2500] {
            let (span, begun) = (Duration::from_micros(micros), Instant::now());
            pass_exactly(Some(span)).await;
            assert!(begun.elapsed() >= span, "{span:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_has_a_timer() {
        alarm::after(Duration::from_micros(1)).await.unwrap();
    }
}
